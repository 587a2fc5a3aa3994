"""Provider keys at rest: encrypted with a key derived from SECRET_KEY. What is read is never logged."""

import base64
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

PURPOSE = b"markbook provider keys 1"


class UnreadableSecret(Exception):
    """What is stored cannot be decrypted with the SECRET_KEY of today."""


@lru_cache(maxsize=4)
def cipher(secret_key: str) -> Fernet:
    """Return the cipher of a SECRET_KEY."""
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(secret_key.encode())
    return Fernet(base64.urlsafe_b64encode(derived))


def encrypt(text: str) -> str:
    """Return the text encrypted, as ASCII; an empty text stays empty."""
    return cipher(settings.SECRET_KEY).encrypt(text.encode()).decode() if text else ""


def decrypt(stored: str) -> str:
    """Return what `encrypt` was given. Raises UnreadableSecret after a change of SECRET_KEY."""
    if not stored:
        return ""
    try:
        return cipher(settings.SECRET_KEY).decrypt(stored.encode()).decode()
    except InvalidToken:
        raise UnreadableSecret(
            "The stored key cannot be read any more: the server's secret key has changed. Enter the provider's key again."
        ) from None
