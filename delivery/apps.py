from django.apps import AppConfig


class DeliveryConfig(AppConfig):
    name = "delivery"

    def ready(self) -> None:
        from delivery import checks  # importing it registers the checks
        from delivery.actions.installations import resume_lanes
        from integrations.installations import observers

        checks.refuse_unreadable_settings()
        observers.subscribe(resume_lanes)
