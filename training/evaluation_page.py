"""The evaluation as one page to look at: the verdict first, the pictures that went wrong last."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge.bundle import Bundle
from edge.errors import SourceError
from training import plots
from training.acting import Acting
from training.dataset import Picture, load
from training.evaluation import Evaluation, Mistake
from training.measures import Share
from training.page import Page, Shown


def write(path: Path, evaluation: Evaluation, pictures: Sequence[Picture], bundle: Bundle) -> None:
    """Write the page of a bundle that was evaluated on `pictures`."""
    count = f"{evaluation.pictures.n} pictures of {evaluation.visits.n} visits"
    page = Page(f"{bundle.name} {bundle.version}", f"How good it is, judged by {count}, run as the appliance runs it")
    fill(page, evaluation, pictures, bundle.manifest.input.crop.margin)
    page.write(path)


def fill(page: Page, evaluation: Evaluation, pictures: Sequence[Picture], margin: float) -> None:
    """Add everything to a page. `pictures` are those evaluated, `margin` is how the model wants them cut."""
    _verdict(page, evaluation)
    if evaluation.visits.n:
        _recall(page, evaluation)
    if evaluation.acting:
        _acting(page, evaluation.acting)
    if evaluation.visits.n:
        _sources(page, evaluation)
        _slices(page, evaluation)
        _trust(page, evaluation)
    _unknown(page, evaluation)
    _mistakes(page, evaluation, pictures, margin)


def _verdict(page: Page, evaluation: Evaluation) -> None:
    verdict = evaluation.verdict
    page.verdict(verdict.text, verdict.good)
    for advice in verdict.advice:
        page.text(advice)
    if evaluation.unread:
        page.text(f"{evaluation.unread} pictures could not be read and are counted nowhere.")


def _recall(page: Page, evaluation: Evaluation) -> None:
    visits, pictures = evaluation.visits, evaluation.pictures
    page.heading("What it recognises")
    page.table(
        ["", "visits", "per visit", "95 %", "pictures", "per picture", "95 %"],
        [
            ["named rightly", *_shares(visits.right, pictures.right)],
            ["mean over the labels", "", _percent(visits.balanced), "", "", _percent(pictures.balanced), ""],
        ],
        "Pictures of one visit are nearly the same picture: judge by the visits.",
    )
    page.plot(plots.recall(visits, pictures), "Named rightly, of the visits of each label, with 95 % intervals.")
    page.heading("What is taken for what")
    page.plot(plots.confusion(evaluation.visit_confusion), "Visits. Row: what it is; column: what it was called.")


def _acting(page: Page, acting: Acting) -> None:
    page.heading("What it would do")
    chosen, best, bursts = acting.chosen, acting.best, acting.bursts
    page.text(
        f"At the costs as configured (a miss {chosen.ratio:g} times a false scare, {chosen.frames} pictures at least) "
        f"it misses {_of(chosen.misses)} visits of threats and scares {_of(chosen.scares)} visits of others."
        + (
            f" Half of the threats it acts on took it at most {acting.median_frames:g} pictures."
            if acting.median_frames
            else ""
        )
    )
    if bursts.misses.n + bursts.scares.n < chosen.misses.n + chosen.scares.n:
        page.text(
            f"Visits with fewer pictures than that are played as if the visitor held still. Of visits with enough: "
            f"{_of(bursts.misses)} threats missed, {_of(bursts.scares)} others scared."
        )
    if best != chosen:
        page.text(
            f"Cheaper on these visits: a miss {best.ratio:g} times a false scare: "
            f"{_of(best.misses)} missed, {_of(best.scares)} scared."
        )
    page.plot(plots.costs(acting), "Each costs the other: the more a miss costs, the sooner it acts.")
    page.table(
        ["label", "", "visits", "acted on", "95 %"],
        [
            [label, "threat" if label in acting.threats else "", share.n, _percent(share.value), _interval(share)]
            for label, share in acting.by_label.items()
        ],
    )


def _sources(page: Page, evaluation: Evaluation) -> None:
    if not evaluation.by_source and not evaluation.without_source:
        return
    page.heading("By source")
    page.text("Where a label comes from one place only, recognising the place is enough to name it.")
    columns = ["source", "visits", "per visit", "95 %", "pictures", "per picture", "95 %"]
    rows = [
        [name, *_shares(source.visits.right, source.pictures.right)] for name, source in evaluation.by_source.items()
    ]
    page.table(columns, rows)
    if not evaluation.without_source:
        return
    page.text(
        "Therefore the same of a model that never saw the source: so it will do at a new place, until it has pictures "
        "from there. Labels that come from nowhere else cannot be judged so."
    )
    left = [
        (name, sum(recall.values()) / len(recall), sorted(recall.items(), key=lambda pair: pair[1]))
        for name, recall in evaluation.without_source.items()
        if recall
    ]
    page.table(
        ["source left out", "named rightly", "of each label"],
        [
            [name, _percent(mean), ", ".join(f"{label} {_percent(value)}" for label, value in recall)]
            for name, mean, recall in sorted(left, key=lambda row: row[1])
        ],
    )


def _slices(page: Page, evaluation: Evaluation) -> None:
    if not evaluation.slices:
        return
    page.heading("By light, hour and camera")
    rows = []
    for one in evaluation.slices:
        missed = sorted(one.recall.items(), key=lambda pair: -pair[1].missed)
        worst = ", ".join(f"{label} {share.missed} of {share.n}" for label, share in missed[:4] if share.missed)
        rows.append([one.of, one.value, one.visits.n, _percent(one.visits.value), _interval(one.visits), worst])
    page.table(["", "", "visits", "per visit", "95 %", "missed most"], rows)


def _trust(page: Page, evaluation: Evaluation) -> None:
    if evaluation.reliability.bins:
        page.heading("Whether it knows how sure it is")
        off = _percent(evaluation.reliability.error, 1)
        page.plot(
            plots.calibration(evaluation.reliability), f"On the line it is right as often as it thinks; off by {off}."
        )
    if len(evaluation.learning_curve) > 1:
        page.heading("Whether more pictures would help")
        page.plot(plots.learning(evaluation.learning_curve), "While it rises, they would.")
    if rival := evaluation.rival:
        low, high = rival.interval
        page.heading("Against the other model")
        page.text(
            f"On the same {rival.n} visits this one is right on {rival.right}, the other on {rival.other_right}: "
            f"{100 * rival.difference:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f}). Only this one was right on "
            f"{rival.wins}, only the other on {rival.losses}: between equals that has a chance of {rival.p_value:.2g}."
        )


def _unknown(page: Page, evaluation: Evaluation) -> None:
    unknown = evaluation.unknown
    if not unknown:
        return
    page.heading("What it has no label for")
    acted = Share(sum(s.hits for s in unknown.acted.values()), sum(s.n for s in unknown.acted.values()))
    text = (
        f"{unknown.pictures} pictures show what the model does not know; it would act on {_of(acted)} of these visits."
    )
    if unknown.auroc is not None:
        text += f" It is surer of a known one than of an unknown one {_percent(unknown.auroc)} of the time."
    page.text(text)
    page.plot(plots.surest(unknown.surest_known, unknown.surest), "How sure it is of what it knows, and of the rest.")
    rows = [[label, share.n, _percent(share.value), _interval(share)] for label, share in unknown.acted.items()]
    page.table(["unknown label", "visits", "acted on", "95 %"], rows)


def _mistakes(page: Page, evaluation: Evaluation, pictures: Sequence[Picture], margin: float) -> None:
    shown = [one for mistake in evaluation.mistakes if (one := _shown(mistake, pictures[mistake.place], margin))]
    if not shown:
        return
    page.heading("What went wrong")
    page.sheet(shown, "The surest mistakes first, one of each visit. Where the label is wrong, mend it and fit again.")


def _shown(mistake: Mistake, picture: Picture, margin: float) -> Shown | None:
    """None where the picture has gone since."""
    try:
        image = load(picture, margin)
    except SourceError:
        return None
    is_it = f"is {picture.label} ({_percent(mistake.p_label)})"
    return Shown(image, (f"called {mistake.said} ({_percent(mistake.p_said)})", is_it, picture.path.name))


def _shares(*shares: Share) -> list[str | int]:
    return [cell for share in shares for cell in (share.n, _percent(share.value), _interval(share))]


def _of(share: Share) -> str:
    return f"{share.hits} of {share.n}"


def _percent(value: float | None, digits: int = 0) -> str:
    return "" if value is None else f"{100 * value:.{digits}f} %"


def _interval(share: Share) -> str:
    low, high = share.interval
    return f"{100 * low:.0f}–{100 * high:.0f}"
