"""What the document promises is what comes: requests made from it, and no failure. benchmarks/serving.py asks more."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
from schemathesis import checks  # noqa: E402

CHECKS = [
    checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
    checks.response_schema_conformance, checks.allow_header_conformance,
]  # fmt: skip
OPERATIONS = [
    ("/v1/predict", "POST"), ("/v1/model", "GET"), ("/health", "GET"), ("/ready", "GET"), ("/metrics", "GET"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_answers_are_as_the_document_says(client: httpx.Client, path: str, method: str) -> None:
    document = client.get("/openapi.json").json()
    assert {(path, method.upper()) for path, methods in document["paths"].items() for method in methods} == set(
        OPERATIONS
    )
    operation = schemathesis.openapi.from_dict(document)[path][method]
    statuses: list[int] = []

    @settings(max_examples=20, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        response = case.call(base_url=str(client.base_url).rstrip("/"))
        statuses.append(response.status_code)
        case.validate_response(response, checks=CHECKS)

    ask()
    assert statuses
    assert path == "/v1/predict" or set(statuses) == {200}
