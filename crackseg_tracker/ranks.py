"""Which rank of a distributed training this process is."""

from __future__ import annotations

import os
import sys


def current_rank() -> int | None:
    """Tell the rank of this process; None when it trains alone.

    ``torch.distributed`` decides once it is initialised (torch is never imported for it), before that the variables of
    the launchers. ``SLURM_PROCID`` alone says nothing: independent jobs have it too.

    Example:
        >>> current_rank() is None
        True
    """
    distributed = sys.modules.get("torch.distributed")
    try:
        if distributed is not None and distributed.is_available() and distributed.is_initialized():
            return int(distributed.get_rank()) if distributed.get_world_size() > 1 else None
    except Exception:  # torch is being imported, or is another's torch; whatever it is, the training goes on
        pass
    if (_number("WORLD_SIZE") or 0) < 2:
        return None
    rank, node, local = _number("RANK"), _number("NODE_RANK"), _number("LOCAL_RANK")
    if rank is not None:
        return rank
    if node is None and local is None:
        return None
    # Without the number of ranks per node this is no exact rank, but 0 for the first of all only.
    per_node = _number("LOCAL_WORLD_SIZE") or (local or 0) + 1
    return (node or 0) * per_node + (local or 0)


def _number(variable: str) -> int | None:
    text = os.environ.get(variable, "").strip()
    return int(text) if text.isascii() and text.isdigit() else None
