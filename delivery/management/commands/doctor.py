import json

from django.core.management.base import BaseCommand

from delivery.operations import doctor
from delivery.operations import indexes as operations_indexes


class Command(BaseCommand):
    help = (
        "Check the whole installation and print the fix for each problem. Exit 1 if there is a "
        "problem."
    )
    requires_system_checks = ()  # the command runs and reports them itself

    def add_arguments(self, parser):
        parser.add_argument("--json", action="store_true", help="Print JSON.")
        parser.add_argument(
            "--rebuild-indexes",
            action="store_true",
            help="First rebuild indexes whose build was interrupted. Does not block writes.",
        )

    def handle(self, *args, json: bool, rebuild_indexes: bool, **options):
        if rebuild_indexes:
            for done in operations_indexes.rebuild_indexes():
                self.stderr.write(done)
        found = []
        for each in doctor.examine():
            found.append(each)
            if not json:
                self.report(each)
        if json:
            self.stdout.write(check_results_json(found))
        if not all(each.is_well for each in found):
            raise SystemExit(1)

    def report(self, each: doctor.CheckResult):
        if each.is_well:
            self.stdout.write(f"ok      {each.subject}: {each.message}")
        else:
            self.stdout.write(self.style.ERROR(f"TO DO   {each.subject}: {each.message}"))
            self.stdout.write(f"        → {each.fix}")


def check_results_json(found: list[doctor.CheckResult]) -> str:
    lines = [
        {"subject": each.subject, "is_well": each.is_well, "said": each.message, "fix": each.fix}
        for each in found
    ]
    return json.dumps(lines, indent=2, ensure_ascii=False)
