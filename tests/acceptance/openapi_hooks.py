"""What Schemathesis has to know of this service (`SCHEMATHESIS_HOOKS`): bytes of tus are bytes."""

import schemathesis

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
