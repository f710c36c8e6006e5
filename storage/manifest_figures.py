"""What a manifest comes to in a line: the reasons of its drops, its tokens."""

from storage.manifests import Manifest


def drop_reasons(manifest: Manifest) -> str:
    """How many rows each reason took, the most frequent first."""
    ordered = sorted(manifest.drops.items(), key=lambda entry: (-entry[1], entry[0]))
    return ", ".join(f"{count} {reason}" for reason, count in ordered if count)


def tokens(manifest: Manifest) -> int | None:
    """Tokens the stage read and wrote when it was computed; None for one that asks no model."""
    counts = [manifest.metrics[name] for name in ("prompt_tokens", "completion_tokens") if name in manifest.metrics]
    return int(sum(counts)) if counts else None
