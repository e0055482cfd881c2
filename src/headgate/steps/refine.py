"""Refine: bronze rows get their one verdict each; silver, quarantine and ledger move together with the position."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from headgate import crash
from headgate.contract.model import Dataset
from headgate.errors import CommitConflict, StopError
from headgate.ports.batch import OFFSET, PARTITION, Position
from headgate.ports.engine import QUARANTINED, Engine, Output, Refined, RefineJob, Span
from headgate.ports.store import Cut, FileInfo, Lake, Publication, TableView
from headgate.steps.judged import HOLD, Judged, check_budget, hold_fact
from headgate.steps.land import bronze_name, offset_fact
from headgate.steps.layers import LAYERS, specs
from headgate.steps.part import Later
from headgate.steps.retire import gone
from headgate.steps.run import Run
from headgate.steps.seal import CHECKSUM, SEALED_AS, form_of, held_sum

JUDGE_ROWS = 2_000_000  # bronze rows per publication
CONFLICTS = 5  # how often a portion is judged again because silver changed meanwhile


def stream_of(dataset: Dataset) -> str:
    """The stream whose position silver keeps: bronze's offsets."""
    return bronze_name(dataset)


def pending(dataset: Dataset, cut: Cut) -> list[Span]:
    """Bronze rows that have no verdict yet, per partition."""
    bronze = cut.table(bronze_name(dataset))
    if bronze is None:
        return []
    silver = cut.table(f"silver.{dataset.name}")
    judged = silver.position(stream_of(dataset)).tokens if silver else {}
    spans = []
    for partition in sorted(bronze.position(dataset.name).tokens):
        start, stop = int(judged.get(partition, 0)), int(bronze.facts(offset_fact(partition)) or 0)
        if stop > start:
            spans.append(Span(partition, start, stop))
    return spans


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
    while spans := _portion(pending(dataset, cut := lake.cut()), most_rows or JUDGE_ROWS):
        try:
            _judge(dataset, cut, lake, engine, run, judged, spans, before, hold=hold, beside=most_rows is not None)
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
    spans: Sequence[Span],
    before: Judged | None,
    *,
    hold: bool,
    beside: bool,
) -> None:
    """One publication: the verdicts of some spans. `judged` takes them in once they are certain to be visible."""
    with lake.publication("refine") as publication:
        step = Step(dataset, cut, publication, engine, run)
        refined = engine.refine(step.job(spans, beside=beside))
        after = judged.copy()
        after.add(refined, spans)
        if before is not None:
            after.join(before)
        step.apply(refined)
        step.advance(spans, refined, last=not _rest(dataset, cut, spans))
        if hold:
            step.hold(after)
        crash.point("refine: files written, not published")
        publication.commit()
    judged.add(refined, spans)


def _portion(spans: list[Span], most_rows: int) -> list[Span]:
    """The first rows of each partition, about `most_rows` in all."""
    if not spans:
        return []
    each = max(1, most_rows // len(spans))
    return [Span(s.partition, s.start, min(s.stop, s.start + each)) for s in spans]


def _rest(dataset: Dataset, cut: Cut, done: Sequence[Span]) -> bool:
    stops = {s.partition: s.stop for s in done}
    return any(stops.get(s.partition, s.start) < s.stop for s in pending(dataset, cut))


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
        step.advance(spans, refined, last=True)
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
        self, spans: Sequence[Span], *, only: pa.Table | None = None, replay: bool = False, beside: bool = False
    ) -> RefineJob:
        silver, ledger = self.before["silver"], self.before["ledger"]
        seen = 0 if self.fresh or replay or silver is None else int(silver.facts("bronze_sequence") or 0)
        return RefineJob(
            dataset=self.dataset,
            bronze=[f for f in self.bronze.files(after_sequence=seen) if _touches(f, spans)],
            bronze_schema=self.bronze.schema,
            spans=spans,
            silver=[] if self.fresh or silver is None else silver.files(),
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

    def advance(self, spans: Sequence[Span], refined: Refined, *, last: bool) -> None:
        """Move silver's position and leave the facts that audit and the next run need."""
        name, stream = self.specs["silver"].name, stream_of(self.dataset)
        silver = self.before["silver"]
        held = silver.position(stream) if silver and not self.fresh else Position.start()
        end = Position({s.partition: str(s.stop) for s in spans})
        self.publication.move(name, stream, held, end)
        if last:
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
