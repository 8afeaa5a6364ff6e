"""`gander check`: configuration, model and what they would do together, in plain lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge.bundle import Bundle
from edge.config import Config
from edge.frames import open_source
from edge.lineup import Lineup, threads, trusted
from edge.model_store import ModelStore
from edge.values import Kind


def check(config: Config, state: Path) -> Iterator[str]:
    """What `gander check` says, a line each; raises the first thing to mend. Starts and writes nothing."""
    bundles = trusted(config, ModelStore(state, config.models))
    chosen = Lineup(config, bundles)
    kinds = chosen.kinds
    for camera in config.camera:
        open_source(camera)
        yield f"camera {camera.id}: {camera.shown}, {camera.fps:g} pictures a second"
    for model, bundle, count in zip(chosen.models, bundles, threads(config.models), strict=False):
        what = ("a demonstration: " if bundle.manifest.demo else "") + f"{len(bundle.labels)} labels"
        signer = bundle.manifest.signer or "nobody"
        yield f"{model.role} {bundle.name} {bundle.version}: {what}, signed by {signer}, {count} threads"
    for kind in (Kind.THREAT, Kind.RESIDENT, Kind.PERSON):
        names = [label for label, of in zip(kinds.labels, kinds.of_label, strict=True) if of is kind]
        yield f"{kind}: {', '.join(names[:4]) or 'none'}{f' and {len(names) - 4} more' if len(names) > 4 else ''}"
    if not kinds.has(Kind.THREAT):
        yield "warning: no label is a threat, so nothing will ever fire: name some in [labels] threat"
    yield from _suggestion(config, bundles[0])
    if not chosen.sees_people:
        yield "warning: no label is a person: this model cannot see people, so none holds the deterrent back"
        if any(d.enabled and d.harms and not d.fires_unseeing for d in config.deterrent):
            yield "warning: so siren and water never fire, unless fires_unseeing = true in their [[deterrent]]"
    if not any(d.enabled for d in config.deterrent):
        yield "warning: no deterrent is enabled, so nothing will ever fire"
    for deterrent in config.deterrent:
        pattern = f"{deterrent.count} times {deterrent.on_ms} ms"
        quiet = f", quiet {deterrent.quiet}" if deterrent.quiet else ""
        state_ = "" if deterrent.enabled else ", not enabled"
        yield f"deterrent {deterrent.id} ({deterrent.kind}): {pattern}{quiet}{state_}, by {config.controller.kind}"
        pulses = int(deterrent.hour_s * 1000 / (deterrent.count * deterrent.on_ms))
        if deterrent.enabled and pulses < config.policy.per_hour:
            yield (
                f"warning: the controller refuses {deterrent.id} after {pulses} pulses in an hour, policy.per_hour = "
                f"{config.policy.per_hour}: raise its hour_s, shorten its pulse, or lower per_hour"
            )
        if deterrent.cameras:
            yield f"deterrent {deterrent.id} answers only what camera {', '.join(deterrent.cameras)} sees"
    if chosen.demo and config.controller.kind != "dry":
        yield "warning: a demonstration model drives nothing but the dry controller: promote a model of your own"
    yield f"state: {state}"


def _suggestion(config: Config, champion: Bundle) -> Iterator[str]:
    """What the champion's own evaluation proposes, where the configuration says otherwise. Nothing applies it."""
    ours = config.evidence.model_dump()
    proposed = champion.manifest.suggested_evidence
    other = {key: value for key, value in proposed.items() if key in ours and value != ours[key]}
    if other:
        lines = ", ".join(f"evidence.{key} = {value:g} (is {ours[key]:g})" for key, value in other.items())
        yield f"the evaluation of {champion.name} proposes {lines}: `gander replay CLIP --set …` shows the change"
