"""Mean, deviation and interval of a metric over seeds: experiments whose params differ in nothing but the seed.

python scripts/seed_statistics.py val/iou
python scripts/seed_statistics.py val/iou --by model.encoder training.loss --project deepcrack
"""

import argparse
import sys

from crackseg_tracker import Catalog, TrackerError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metric", help="its name, such as val/iou")
    parser.add_argument("--catalog", help="path of the catalog (default: as for the tracker)")
    parser.add_argument("--by", nargs="+", metavar="PARAM", help="group by these params instead")
    parser.add_argument("--seed", default="seed", metavar="PARAM", help="the param that is the seed (default: seed)")
    parser.add_argument("--last", action="store_true", help="of each experiment the last value instead of the best")
    parser.add_argument("--project", help="of this project only")
    parser.add_argument("--limit", type=int, default=10, help="how many groups (default: 10)")
    options = parser.parse_args()
    try:
        with Catalog(options.catalog) as catalog:
            groups = catalog.statistics(
                options.metric,
                options.by or f"config-without:{options.seed}",
                value="last" if options.last else "best",
                project=options.project,
            )
            print(groups[: options.limit].select("n", "mean", "sd", "low", "high", "group"))
    except TrackerError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
