from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("evals", "0007_grading"),
    ]

    operations = [
        migrations.AddField(
            model_name="dataset",
            name="deleted_at",
            field=models.DateTimeField(help_text="Asked to be deleted; the worker is at it", null=True),
        ),
    ]
