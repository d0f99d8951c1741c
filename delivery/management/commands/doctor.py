import json

from django.core.management.base import BaseCommand

from delivery.operations import doctor
from delivery.operations import indexes as operations_indexes


class Command(BaseCommand):
    help = (
        "Say whether everything is all right, and what to do where it is not. Exit 1 when "
        "something is to be done."
    )
    requires_system_checks = ()  # they are among what is told

    def add_arguments(self, parser):
        parser.add_argument("--json", action="store_true", help="Print it for programs.")
        parser.add_argument(
            "--rebuild-indexes",
            action="store_true",
            help="First rebuild indexes that were left half-built. Nobody has to wait for it.",
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
