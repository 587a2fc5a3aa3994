"""Forms of the traces room."""

from django import forms


class IngestKeyForm(forms.Form):
    """The name of a new key that can only send."""

    name = forms.CharField(max_length=80, label="Name of the key", initial="support-agent")

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if "\0" in name:
            raise forms.ValidationError("The name holds a NUL character.")
        return name
