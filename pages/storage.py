"""Static files under hashed names, with module imports rewritten, so that a browser may keep them for ever."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedStaticFiles(CompressedManifestStaticFilesStorage):
    """Hash and compress; `import` statements in JavaScript modules follow the hashed names."""

    support_js_module_import_aggregation = True
