"""Every error Headgate raises, sorted by what to do next.

HeadgateError                 code, hint, where
├─ FixInputError              a person must change something; never retried            exit 2
│  ├─ ContractSyntaxError     a contract or project file says something impossible
│  ├─ BreakingChangeError     the stored tables cannot follow this contract
│  ├─ UnknownKindError        no connector of that name
│  ├─ MissingExtraError       an optional package is not installed
│  └─ MissingSecretError      a secret or ${VARIABLE} is not set
├─ RetryableError             try again after retry_after_s                             exit 3
│  ├─ SourceUnavailable
│  ├─ StoreUnavailable
│  ├─ RateLimited
│  └─ CommitConflict          somebody else committed first; nothing of ours landed
├─ OutcomeUnknownError        may have landed: read the position, then decide           exit 1
├─ StopError                  going on would lose or double data                        exit 5
│  ├─ StalePosition           the rows continue a position the table no longer has
│  ├─ PositionLost            the position cannot be found, or the source has dropped it
│  ├─ SourceChanged           this is not the source the position belongs to
│  └─ AccountError            the account of rows does not balance
├─ BudgetExceeded             more rows were rejected than the contract allows          exit 4
└─ DefectError                our bug: says how to report it                            exit 70
"""

from __future__ import annotations


class HeadgateError(Exception):
    """Root of all errors: what happened, where, and what to do next.

    `code` is stable and names the kind; `hint` says what to do next; `where` is a place such as
    `contracts/orders.odcs.yaml:12:7`, `bronze.orders` or `public.orders`; `stage` is one of
    `validate`, `extract`, `land`, `refine`, `derive`, `serve`, `state`, `run` where known.
    """

    code = "error"
    exit_code = 1

    def __init__(
        self, message: str, *, hint: str | None = None, where: str | None = None, stage: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where
        self.stage = stage

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message

    def as_dict(self) -> dict[str, str | None]:
        """The error as JSON-safe values: code, message, where, hint, stage."""
        return {
            "code": self.code,
            "message": self.message,
            "where": self.where,
            "hint": self.hint,
            "stage": self.stage,
        }


class FixInputError(HeadgateError):
    """A person must change something; retrying cannot help."""

    code = "fix-input"
    exit_code = 2


class ContractSyntaxError(FixInputError):
    """A contract or project file is malformed or contradicts itself; `where` is file:line:column."""

    code = "contract-syntax"


class BreakingChangeError(FixInputError):
    """The stored tables cannot follow this contract without a rebuild."""

    code = "breaking-change"


class UnknownKindError(FixInputError):
    """No connector, engine or layer has that name."""

    code = "unknown-kind"


class MissingExtraError(FixInputError):
    """An optional package is needed; the hint gives the install command."""

    code = "missing-extra"


class MissingSecretError(FixInputError):
    """A secret or a `${VARIABLE}` is not set."""

    code = "missing-secret"


class RetryableError(HeadgateError):
    """A service did not answer, or somebody was faster; trying again may help."""

    code = "retryable"
    exit_code = 3

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float = 1.0,
        hint: str | None = None,
        where: str | None = None,
        stage: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, where=where, stage=stage)
        self.retry_after_s = retry_after_s


class SourceUnavailable(RetryableError):
    """The source did not answer or hung up."""

    code = "source-unavailable"


class StoreUnavailable(RetryableError):
    """The lake's catalog or storage did not answer."""

    code = "store-unavailable"


class RateLimited(RetryableError):
    """The other side asked us to slow down."""

    code = "rate-limited"


class CommitConflict(RetryableError):
    """Another writer moved a table first; for certain nothing of ours landed."""

    code = "commit-conflict"


class OutcomeUnknownError(HeadgateError):
    """The commit may have landed: read the position, then decide. Never resend, delete nothing."""

    code = "outcome-unknown"


class StopError(HeadgateError):
    """Going on would lose or double data."""

    code = "stop"
    exit_code = 5


class StalePosition(StopError):
    """The rows continue a position that the table no longer has: another run moved it."""

    code = "stale-position"


class PositionLost(StopError):
    """The position cannot be found again, or the source no longer reaches back to it."""

    code = "position-lost"


class SourceChanged(StopError):
    """The source is not the one that the stored position belongs to."""

    code = "source-changed"


class AccountError(StopError):
    """Rows read and verdicts given do not balance."""

    code = "account"


class BudgetExceeded(HeadgateError):
    """More rows were rejected than the contract's error budget allows."""

    code = "budget-exceeded"
    exit_code = 4


class DefectError(HeadgateError):
    """A defect of Headgate itself."""

    code = "defect"
    exit_code = 70
