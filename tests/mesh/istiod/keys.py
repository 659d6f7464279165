"""What istiod gives proxies for keys that it could not fetch: a public key, so that no token is valid.

After pilot/pkg/model/jwks_resolver.go of istio/istio. The private half of the older one is in that file, too.
"""

from __future__ import annotations

import json


def _keys(modulus: str) -> str:
    return json.dumps({"keys": [{"kty": "RSA", "e": "AQAB", "n": modulus}]})


_OLD = (
    "vqS7RN4b34i3_5YyhygtBe33gI6GK_0ldW8WMZaunS28T-WAzJOAoZ7E9Y0mHS8vcDES0eZIUpp6Ft9sRPhOlzQfo_7l-3DnaD9LxJVKdXjE1j"
    "ugxfI9YX1qJpD9S9wRZxQIhPky9UzZDkpFh_KpL6pZUt4cbPtW0VCctjqvpI11yHNk4CEbzw-RRFLMJkLFJqgPa2JPzGZ-TqJdkSDQ7UtRiKzj"
    "RcWGnAdLsTq6WabDA1Fn1JVI9TWu-YDbLufDUDco46qyPgpxAqcRQG39cWZAQzMwNEZ-Yec_WiqDYqGTU6K8BBWeEIuMhiWfxGmtqX35rb9Qk_"
    "qeYDsqqT95Pw"
)
_NEW = (
    "0xObjM0UvS_oaazjpEYlAbwctEJ4L8pH3OuTb7qth7gUwqet-EzQB4dgFdvSdMgrLnSncQGRjpEYz3F3viIbH-3EN3TxSlPNviHxeOdyiBVfum"
    "N8dMxbLvVJUpfNOnvmMxJcl-8NNjAwcOjk4otSALaYgYYyOPyvKtgVdrQr-FoubWX4yrjxW-MJ2-7OBeepUUNOsVwGV23YX03sVkkyvY3otRfl"
    "kBcY3_HKpBxJl9wk2GyOShN4_PNUF9-vwfnvOXMbCDX-w4PTef4geeb_GiT40YCKHTKMSPVanGRn5GExIWmki-mmqh94-mPTJyBR74ShspL3Bx"
    "PZitDL574T1w"
)
PLACEHOLDERS = (_keys(_OLD), _keys(_NEW))
"""That of older releases, and that since 1.27.8, 1.28.5 and 1.29.1."""
