"""``advlab defend``: train a robust network and compare it with an undefended one."""
