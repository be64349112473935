"""Rank experiments by the best value of a metric, with the params that one wants to see beside it.

python scripts/leaderboard.py val/iou
python scripts/leaderboard.py val/iou --params model.encoder training.loss --tags baseline --limit 5
"""

import argparse
import sys

from crackseg_tracker import Catalog, TrackerError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metric", help="its name, such as val/iou")
    parser.add_argument("--catalog", help="path of the catalog (default: as for the tracker)")
    parser.add_argument("--mode", choices=["max", "min"], help="which is better (default: as defined for the metric)")
    parser.add_argument("--params", nargs="+", default=[], metavar="NAME", help="show these params")
    parser.add_argument("--project", help="of this project only")
    parser.add_argument("--tags", nargs="+", metavar="TAG", help="only those that have all of these tags")
    parser.add_argument("--limit", type=int, default=10, help="how many (default: 10)")
    options = parser.parse_args()
    try:
        with Catalog(options.catalog) as catalog:
            best = catalog.best(
                options.metric,
                mode=options.mode,
                limit=options.limit,
                project=options.project,
                tags=options.tags,
                status="completed",
            )
            print(f"{'':>3}  {options.metric:>10}  {'step':>6}  experiment")
            for rank, row in enumerate(best, 1):
                params = catalog.params(row.experiment_id)
                shown = "  ".join(f"{name}={params.get(name)}" for name in options.params)
                print(f"{rank:>3}  {row.value:>10.4f}  {row.step:>6}  {row.experiment_id}  {shown}".rstrip())
    except TrackerError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
