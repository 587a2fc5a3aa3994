from django.db import migrations


class Migration(migrations.Migration):
    """Changes nothing by itself: after it `text_schema.prepare` sets how the search index of a database that is there is written."""

    dependencies = [
        ("traces", "0012_unchecked_rows"),
    ]

    operations = []
