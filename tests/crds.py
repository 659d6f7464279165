"""What the API server would say of objects of Istio, the Gateway API and the Prometheus operator: errors and dropped fields."""

import json
from pathlib import Path

from jsonschema import Draft202012Validator

SCHEMAS = json.loads(Path(__file__).with_name("crds.json").read_text())["schemas"]
KINDS = {name.rpartition("/")[2] for name in SCHEMAS}


def mistakes(each):
    """Of an object, as texts."""
    schema = SCHEMAS.get(f"{each['apiVersion']}/{each['kind']}")
    if schema is None:
        return [f"no CRD for {each['apiVersion']} {each['kind']}"]
    return [error.message for error in Draft202012Validator(schema).iter_errors(each)]
