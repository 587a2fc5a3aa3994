"""What every page shares and no domain owns: middleware, template tags, the shell's assets."""
