"""Find files across all experiments: by type, tag, path and what their experiment is, or by content.

python scripts/find_artifacts.py --type checkpoint --tags best --status completed
python scripts/find_artifacts.py --path '*/figures/*' --experiment '20250106-*'
"""

import argparse
import sys

from crackseg_tracker import Catalog, TrackerError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalog", help="path of the catalog (default: as for the tracker)")
    parser.add_argument("--type", nargs="+", help="one of these types")
    parser.add_argument("--tags", nargs="+", metavar="TAG", help="the artifacts that have all of these tags")
    parser.add_argument("--path", help="the path; * stands for any characters")
    parser.add_argument("--experiment", help="id of the experiment; * stands for any characters")
    parser.add_argument("--status", help="of experiments with this status")
    parser.add_argument("--limit", type=int, default=20, help="how many (default: 20)")
    options = parser.parse_args()
    try:
        with Catalog(options.catalog) as catalog:
            found = catalog.artifacts(
                artifact_type=options.type,
                tags=options.tags,
                experiment_id=options.experiment,
                path=options.path,
                status=options.status,
                limit=options.limit,
            )
            for row in found:
                size = f"{(row.size_bytes or 0) / 1e6:.1f} MB"
                print(
                    f"{row.experiment_id}  {row.artifact_id}  {size:>9}  {row.absolute_path}  [{', '.join(row.tags)}]"
                )
            print(f"{len(found)} artifacts, {sum(row.size_bytes or 0 for row in found) / 1e6:,.1f} MB", file=sys.stderr)
    except TrackerError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
