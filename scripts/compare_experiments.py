"""Put experiments side by side: the params that differ, their best and last metrics, status, time and artifacts.

python scripts/compare_experiments.py unet-1 unet-2 unet-3
python scripts/compare_experiments.py unet-1 unet-2 --diff
"""

import argparse
import sys

from crackseg_tracker import Catalog, TrackerError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="+", help="their ids")
    parser.add_argument("--catalog", help="path of the catalog (default: as for the tracker)")
    parser.add_argument("--diff", action="store_true", help="of two: params, environment, packages and code")
    options = parser.parse_args()
    if options.diff and len(options.experiments) != 2:
        parser.error("--diff takes two experiments")
    try:
        with Catalog(options.catalog) as catalog:
            print(catalog.diff(*options.experiments) if options.diff else catalog.compare(options.experiments))
    except TrackerError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
