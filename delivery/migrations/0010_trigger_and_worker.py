from django.db import migrations, models

# By hand: for a column that is never null Django copies the table on SQLite, however large the log.
ADD = "ALTER TABLE {} ADD COLUMN {} varchar({}) NOT NULL DEFAULT '{}'"
DROP = "ALTER TABLE {} DROP COLUMN {}"


class Migration(migrations.Migration):
    dependencies = [("delivery", "0009_incident")]

    operations = [
        migrations.RunSQL(
            ADD.format("delivery_delivery", "trigger", 10, "auto"),
            DROP.format("delivery_delivery", "trigger"),
            state_operations=[
                migrations.AddField(
                    model_name="delivery",
                    name="trigger",
                    field=models.CharField(
                        choices=[
                            ("auto", "Auto"),
                            ("hand", "Hand"),
                            ("replay", "Replay"),
                            ("backfill", "Backfill"),
                        ],
                        db_default="auto",
                        help_text="What queued the delivery last.",
                        max_length=10,
                    ),
                ),
            ],
        ),
        migrations.RunSQL(
            ADD.format("delivery_attempt", "worker", 100, ""),
            DROP.format("delivery_attempt", "worker"),
            state_operations=[
                migrations.AddField(
                    model_name="attempt",
                    name="worker",
                    field=models.CharField(
                        db_default="",
                        help_text="Sending process: host and process id.",
                        max_length=100,
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="attempt",
            name="taken_at",
            field=models.DateTimeField(
                help_text="When the process took the deliveries from the queue.", null=True
            ),
        ),
    ]
