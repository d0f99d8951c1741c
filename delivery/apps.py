from django.apps import AppConfig


class DeliveryConfig(AppConfig):
    name = "delivery"

    def ready(self) -> None:
        from delivery import checks  # noqa: F401  (it registers its own)
        from delivery.actions.installations import resume_lanes
        from integrations.installations import observers

        observers.subscribe(resume_lanes)
