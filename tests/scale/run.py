"""Several API processes and function workers on one database and one account, killed under load: the long show.

    python -m tests.scale.run [--seconds 180] [--every 4] [--seed 1] [--apis 4] [--workers 4] [--clocks 2]

Prints what was done, what died, how long the takeover of the sequencer took, and every promise that was broken; the
exit code says whether one was. With fsync on, as in service, unless --quick.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.scale.installation import installation
from tests.scale.show import Outcome, run

NODE_MODULES = Path(__file__).resolve().parents[1] / "azurite" / "node_modules"


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="casevault-scale-") as folder:
        shape = {"apis": options.apis, "workers": options.workers, "clocks": options.clocks}
        with installation(Path(folder), NODE_MODULES, durable=not options.quick, **shape) as made:
            begun = time.monotonic()
            outcome = run(
                made, seconds=options.seconds, every=options.every, seed=options.seed, jumps=options.jumps
            )
            print(
                f"load for {options.seconds:.0f} s, all in {time.monotonic() - begun:.0f} s; seed {options.seed}"
            )
            if outcome.broken and options.keep:
                _keep(Path(folder), Path(options.keep))
    _tell(outcome)
    return 1 if outcome.broken else 0


def _tell(outcome: Outcome) -> None:
    ledger, found = outcome.ledger, outcome.evidence
    for what, number in sorted(outcome.counts.items()):
        print(f"{number:8} {what}")
    acknowledged = sum(upload.acknowledged is not None for upload in ledger.uploads.values())
    print(
        f"{len(ledger.uploads):8} uploads begun, {acknowledged} acknowledged, {len(found.contents)} still kept"
    )
    print(f"{len(found.leaves):8} entries in the log; {len(ledger.checkpoints)} checkpoints seen")
    if outcome.takeovers:
        took = sorted(outcome.takeovers)
        middle = took[len(took) // 2]
        print(
            f"takeover of the sequencer: {len(took)} times, median {middle:.2f} s, longest {took[-1]:.2f} s"
        )
    print("every promise was kept" if not outcome.broken else "BROKEN:")
    for line in outcome.broken:
        print(f"  {line}")


def _keep(folder: Path, to: Path) -> None:
    to.mkdir(exist_ok=True)
    for log in folder.glob("*.log"):
        (to / log.name).write_bytes(log.read_bytes())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--every", type=float, default=4)
    parser.add_argument("--jumps", type=int, default=2, help="how often 91 days go by under load")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--apis", type=int, default=4)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--clocks", type=int, default=2, help="API processes that run an embedded clock too")
    parser.add_argument("--quick", action="store_true", help="PostgreSQL in memory, without fsync")
    parser.add_argument("--keep", help="folder for the processes' logs, if a promise was broken")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
