"""How each kind of op is written in TFLite, one function per kind."""
