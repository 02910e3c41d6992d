"""E-mail by SMTP: a webhook whose address begins with `mailto:`."""
