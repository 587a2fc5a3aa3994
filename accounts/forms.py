"""Forms of sign-in, set-up, the account and the project's settings."""

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm, SetPasswordMixin
from django.core.exceptions import ValidationError

from accounts.models import Project, Role, Scope, User
from accounts.queries import role_choices

HINT = "At least 10 characters, and not a common word."


class SignInForm(AuthenticationForm):
    """User name and password."""

    error_messages = {
        "invalid_login": "This name and password do not go together. Both are case-sensitive.",
        "inactive": "This account was switched off.",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].label = "User name"


class SetUpForm(SetPasswordMixin, forms.ModelForm):
    """Name and password of the first admin."""

    password1, password2 = SetPasswordMixin.create_password_fields(label1="Password", label2="Password again")
    password1.help_text, password2.help_text = HINT, ""

    class Meta:
        model = User
        fields = ["username"]
        labels = {"username": "User name"}
        help_texts = {"username": "Letters, digits and @ . + - _"}
        widgets = {"username": forms.TextInput(attrs={"autocomplete": "username"})}

    def clean(self) -> dict[str, Any]:
        self.validate_passwords("password1", "password2")
        return super().clean() or {}

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]  # the stubs leave it out
        password = self.cleaned_data.get("password2")
        if password:
            try:
                self.validate_password_for_user(self.instance, "password2")
            except ValidationError as error:
                self.add_error("password2", error)


class PasswordForm(PasswordChangeForm):
    """Change of the own password."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["old_password"].label = "Password now"
        self.fields["new_password1"].label, self.fields["new_password1"].help_text = "New password", HINT
        self.fields["new_password2"].label, self.fields["new_password2"].help_text = "New password again", ""


class ProjectForm(forms.Form):
    """A new project."""

    name = forms.CharField(max_length=120, help_text="Shown at the top of the menu; can be changed.")
    slug = forms.SlugField(
        max_length=60,
        required=False,
        label="Short name",
        help_text="Part of every address; left empty, it is made from the name.",
    )

    def clean_slug(self) -> str:
        slug: str = self.cleaned_data["slug"]
        if slug and Project.objects.filter(slug=slug).exists():
            raise ValidationError(f"There is a project {slug} already.")
        return slug


class SettingsForm(forms.Form):
    """A form that shares its page with others: its ids carry its name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"auto_id": f"{type(self).__name__.lower()}_%s", **kwargs})


class RenameForm(SettingsForm):
    """The project's shown name."""

    name = forms.CharField(max_length=120, label="Project name")


class KeyForm(SettingsForm):
    """A new API key."""

    name = forms.CharField(
        max_length=80,
        label="What is it for?",
        widget=forms.TextInput(attrs={"placeholder": "support-agent, production"}),
    )
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        label="It may",
        initial=[Scope.INGEST],
        widget=forms.CheckboxSelectMultiple(attrs={"class": "check"}),
    )


class MemberForm(SettingsForm):
    """A person who has an account, and the role that they get."""

    username = forms.CharField(max_length=150, label="User name")
    role = forms.ChoiceField(choices=role_choices, initial=Role.VIEWER)

    def clean_username(self) -> User:
        user = User.objects.filter(username=self.cleaned_data["username"], is_active=True).first()
        if user is None:
            raise ValidationError(
                "Nobody has this user name. An account is made on the server with `manage.py add_user NAME`."
            )
        return user


class RoleForm(SettingsForm):
    """Another role, or `remove`."""

    role = forms.ChoiceField(choices=[*Role.choices, ("remove", "Remove")])
