"""Refine: bronze rows get their one verdict each; silver, quarantine and ledger move together with the position."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from headgate import crash
from headgate.contract.model import Dataset
from headgate.errors import CommitConflict, StopError
from headgate.ports.batch import OFFSET, PARTITION, Position
from headgate.ports.engine import QUARANTINED, Engine, Output, Prepares, Refined, RefineJob, Span
from headgate.ports.store import Cut, FileInfo, Lake, Publication, TableView
from headgate.steps.judged import HOLD, Judged, check_budget, hold_fact
from headgate.steps.land import bronze_name, offset_fact
from headgate.steps.layers import LAYERS, specs
from headgate.steps.part import Later
from headgate.steps.portion import Portion, next_portion, stream_of
from headgate.steps.retire import gone
from headgate.steps.run import Run
from headgate.steps.seal import CHECKSUM, SEALED_AS, form_of, held_sum

JUDGE_ROWS = 2_000_000  # bronze rows per publication
CONFLICTS = 5  # how often a portion is judged again because silver changed meanwhile


def refine(
    dataset: Dataset,
    lake: Lake,
    engine: Engine,
    run: Run,
    *,
    rebuild: bool = False,
    before: Judged | None = None,
    most_rows: int | None = None,
    hold: bool = True,
) -> Judged:
    """Judge everything that bronze holds and silver has not seen; with `rebuild`, everything anew.

    A run that goes on looks at some time together: `before` is what the error budget counts besides this, and without
    `hold` there are still too few rows to close gold for. With `most_rows` there is one publication of about so many
    bronze rows, the rest is left, and the process has other things to do meanwhile.

    Raises BudgetExceeded after the last publication when more rows failed than the contract allows: silver and
    quarantine stay as judged, gold must not be built.
    """
    judged = Judged()
    if rebuild:
        _rebuild(dataset, lake, engine, run, judged)
    conflicts = 0
    while (portion := next_portion(dataset, cut := lake.cut(), most_rows or JUDGE_ROWS)) is not None:
        try:
            _judge(dataset, cut, lake, engine, run, judged, portion, before, hold=hold, beside=most_rows is not None)
        except CommitConflict:
            # Nothing of it landed, and silver is not what these verdicts were given against: judge again.
            conflicts += 1
            if conflicts > CONFLICTS:
                raise
            continue
        crash.point("refine: published")
        run.tell("refine", dataset=dataset.name, rows=judged.read, quarantined=judged.total(QUARANTINED))
        if most_rows:
            break
    if not judged.publications:
        judged.publications += _exist(dataset, lake)
    return judged


def _exist(dataset: Dataset, lake: Lake) -> int:
    """Make silver, quarantine and ledger for a bronze that is still empty: models can be built on them."""
    cut = lake.cut()
    bronze = cut.table(bronze_name(dataset))
    if bronze is None or cut.table(f"silver.{dataset.name}") is not None:
        return 0
    with lake.publication("refine") as publication:
        for spec in specs(dataset, bronze.schema).values():
            publication.ensure(spec)
        publication.commit()
    return 1


def _judge(
    dataset: Dataset,
    cut: Cut,
    lake: Lake,
    engine: Engine,
    run: Run,
    judged: Judged,
    portion: Portion,
    before: Judged | None,
    *,
    hold: bool,
    beside: bool,
) -> None:
    """One publication: the verdicts of a portion. `judged` takes them in once they are certain to be visible."""
    if not beside and isinstance(engine, Prepares):
        engine.prepare(many=False)
    with lake.publication("refine") as publication:
        step = Step(dataset, cut, publication, engine, run)
        refined = engine.refine(step.job(portion.spans, until=portion.last_commit, beside=beside))
        after = judged.copy()
        after.add(refined, portion.spans)
        if before is not None:
            after.join(before)
        step.apply(refined)
        step.advance(portion, refined)
        if hold:
            step.hold(after)
        crash.point("refine: files written, not published")
        publication.commit()
    judged.add(refined, portion.spans)


def rebuilt(dataset: Dataset, lake: Lake, engine: Engine, run: Run) -> Judged:
    """What a rebuild would judge; the work is done and thrown away."""
    judged = Judged()
    _rebuild(dataset, lake, engine, run, judged, dry_run=True)
    return judged


def _rebuild(dataset: Dataset, lake: Lake, engine: Engine, run: Run, judged: Judged, *, dry_run: bool = False) -> None:
    """Judge all of bronze from the beginning and swap silver, quarantine and ledger in one publication. Readers have
    the old tables until they have the new ones, which may have other columns, keys and partitions."""
    cut = lake.cut()
    bronze = cut.table(bronze_name(dataset))
    if bronze is None:
        return
    if lost := sum(one.rows for one in gone(dataset, bronze).values()):
        raise StopError(
            f"bronze no longer holds {lost:,} rows that silver was built from: a full refresh would lose them",
            where=bronze.name,
            hint="their retention is over; what silver holds of them cannot be judged anew",
            stage="refine",
        )
    spans = []
    for partition in sorted(bronze.position(dataset.name).tokens):
        stop = int(bronze.facts(offset_fact(partition)) or 0)
        if stop:
            spans.append(Span(partition, 0, stop))
    with lake.publication("refine") as publication:
        step = Step(dataset, cut, publication, engine, run, fresh=True)
        refined = engine.refine(step.job(spans)) if spans else Refined()
        step.apply(refined)
        judged.add(refined, spans)
        if dry_run:
            return
        step.advance(Portion(spans, all_there_is=True), refined)
        step.hold(judged)
        crash.point("rebuild: files written, not published")
        publication.commit()


class Step:
    """One publication of silver, quarantine and ledger."""

    def __init__(
        self, dataset: Dataset, cut: Cut, publication: Publication, engine: Engine, run: Run, *, fresh: bool = False
    ) -> None:
        self.dataset, self.publication, self.run, self.fresh = dataset, publication, run, fresh
        self.engine = engine
        bronze = cut.table(bronze_name(dataset))
        if bronze is None:  # the callers have looked
            raise KeyError(bronze_name(dataset))
        self.bronze = bronze
        self.specs = specs(dataset, bronze.schema)
        make = publication.replace if fresh else publication.ensure
        self.views = {layer: make(spec) for layer, spec in self.specs.items()}
        self.before: dict[str, TableView | None] = {layer: cut.table(self.specs[layer].name) for layer in LAYERS}

    def job(
        self,
        spans: Sequence[Span],
        *,
        until: int | None = None,
        only: pa.Table | None = None,
        replay: bool = False,
        beside: bool = False,
    ) -> RefineJob:
        """What the engine is asked for; with `until`, of bronze's commits up to that one."""
        silver, ledger = self.before["silver"], self.before["ledger"]
        seen = 0 if self.fresh or replay or silver is None else int(silver.facts("bronze_sequence") or 0)
        return RefineJob(
            dataset=self.dataset,
            bronze=[
                f
                for f in self.bronze.files(after_sequence=seen)
                if (until is None or f.sequence <= until) and _touches(f, spans)
            ],
            bronze_schema=self.bronze.schema,
            spans=spans,
            silver=[] if self.fresh or silver is None else Later(silver),
            ledger=[] if self.fresh or ledger is None else Later(ledger),
            outputs={layer: self._output(layer) for layer in LAYERS},
            run_id=self.run.id,
            judged_at_us=self.run.at_us,
            only=only,
            replay=replay,
            beside=beside,
        )

    def _output(self, layer: str) -> Output:
        view, spec = self.views[layer], self.specs[layer]
        return Output(
            folder=self.publication.folder(spec.name),
            schema=view.schema,
            field_ids=view.field_ids(),
            partition=spec.partition,
            sort=spec.sort,
        )

    def apply(self, refined: Refined) -> None:
        """Swap the files that the engine rewrote and add the new ones. The verdicts hold only for the silver that they
        were given against, so the commit is refused when it has changed."""
        silver = self.before["silver"]
        self.publication.expect(self.specs["silver"].name, silver.version if silver else None)
        for layer in LAYERS:
            name = self.specs[layer].name
            if removed := refined.removed.get(layer):
                self.publication.remove(name, removed)
            if added := refined.added.get(layer):
                self.publication.append(name, added)

    def advance(self, portion: Portion, refined: Refined) -> None:
        """Move silver's position and leave the facts that audit and the next run need."""
        name, stream = self.specs["silver"].name, stream_of(self.dataset)
        silver = self.before["silver"]
        held = silver.position(stream) if silver and not self.fresh else Position.start()
        end = Position({s.partition: str(s.stop) for s in portion.spans})
        self.publication.move(name, stream, held, end)
        if portion.last_commit is not None:
            self.publication.note_fact(name, "bronze_sequence", str(portion.last_commit))
        elif portion.all_there_is:
            newest = max((f.sequence for f in self.bronze.files()), default=0) if self.fresh else self._newest()
            self.publication.note_fact(name, "bronze_sequence", str(newest))
        self.seal(refined)

    def seal(self, refined: Refined) -> None:
        """Facts about silver's content: its checksum, and the contract it follows."""
        name, silver = self.specs["silver"].name, self.before["silver"]
        form = form_of(self.dataset)
        fresh = self.fresh or silver is None
        held = 0 if fresh or silver is None else held_sum(self.engine, silver, self.views["silver"], form)
        self.publication.note_fact(name, CHECKSUM, str(held + refined.checksum))
        self.publication.note_fact(name, SEALED_AS, form)
        self.publication.note_fact(name, "contract", self.dataset.contract_version)
        verdicts: dict[str, int] = {}
        for counts in refined.verdicts.values():
            for verdict, rows in counts.items():
                verdicts[verdict] = verdicts.get(verdict, 0) + rows
        self.publication.note(
            {
                "run": self.run.id,
                "dataset": self.dataset.name,
                "verdicts": verdicts,
                "replaced": refined.replaced,
                "rebuild": self.fresh,
                "partitions": refined.verdicts,
            }
        )

    def hold(self, judged: Judged) -> None:
        """Keep gold closed until the rejects of these spans are replayed or accepted."""
        if check_budget(self.dataset, judged):
            self.publication.note_fact(self.specs["silver"].name, HOLD, hold_fact(judged))
        elif self.fresh:
            self.publication.note_fact(self.specs["silver"].name, HOLD, "")

    def _newest(self) -> int:
        silver = self.before["silver"]
        seen = int(silver.facts("bronze_sequence") or 0) if silver else 0
        return max((f.sequence for f in self.bronze.files(after_sequence=seen)), default=seen)


def _touches(info: FileInfo, spans: Sequence[Span]) -> bool:
    """Whether a bronze file can hold rows of a span, by its bounds."""
    low, high = info.lower.get(OFFSET), info.upper.get(OFFSET)
    first, final = info.lower.get(PARTITION), info.upper.get(PARTITION)
    for span in spans:
        if low is not None and low >= span.stop:
            continue
        if high is not None and high < span.start:
            continue
        if first is not None and final is not None and not first <= span.partition <= final:
            continue
        return True
    return False
