"""Users, kept in memory: list, read and create them over HTTP.

GET  /users        all users, oldest first
POST /users        a new user from `{"name": …, "email": …}`
GET  /users/{id}   one user
GET  /healthz      200 while it serves
GET  /metrics      Prometheus metrics
"""

import argparse
import json
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypedDict

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

FIELDS = ("name", "email")
LONGEST_FIELD = 200
MOST_USERS = 10_000


class User(TypedDict):
    id: int
    name: str
    email: str


class Users:
    """The users, by their ID."""

    def __init__(self) -> None:
        self._ids = count(1)
        self._users: dict[int, User] = {}

    def all(self) -> list[User]:
        """Oldest first."""
        return list(self._users.values())

    def find(self, user_id: int) -> User | None:
        return self._users.get(user_id)

    def create(self, name: str, email: str) -> User:
        """Keep a new user; drop the oldest if there are too many."""
        user = User(id=next(self._ids), name=name, email=email)
        self._users[user["id"]] = user
        if len(self._users) > MOST_USERS:
            del self._users[next(iter(self._users))]
        return user


class Metrics:
    """Metrics of an HTTP service: how many requests, how long they took."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter("users_http_requests", "Requests answered.", labels, registry=self.registry)
        self._seconds = Histogram("users_http_seconds", "Time to answer.", ("route",), registry=self.registry)

    async def measure(self, request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        began = time.perf_counter()
        response = await call_next(request)
        # The route, not the path: a label must not have a value for every user.
        route = getattr(request.scope.get("route"), "path", "(none)")
        method = request.method if request.method in {"GET", "HEAD", "POST"} else "(other)"
        self._requests.labels(method, route, str(response.status_code)).inc()
        self._seconds.labels(route).observe(time.perf_counter() - began)
        return response


def new_app() -> Starlette:
    """The service, with two users in it."""
    users, metrics = Users(), Metrics()
    users.create("Ada", "ada@example.com")
    users.create("Grace", "grace@example.com")

    async def list_users() -> Response:
        return JSONResponse({"users": users.all()})

    async def read_user(request: Request) -> Response:
        user = users.find(request.path_params["id"])
        if user is None:
            raise HTTPException(404, f"there is no user {request.path_params['id']}")
        return JSONResponse(user)

    async def create_user(request: Request) -> Response:
        name, email = fields(await request.body())
        user = users.create(name, email)
        return JSONResponse(user, 201, {"location": f"/users/{user['id']}"})

    async def list_or_create(request: Request) -> Response:
        return await (create_user(request) if request.method == "POST" else list_users())

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def show_metrics(_: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/users", list_or_create, methods=["GET", "POST"]),
            Route("/users/{id:int}", read_user, methods=["GET"]),
            Route("/healthz", healthz),
            Route("/metrics", show_metrics),
        ],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=metrics.measure)],
        exception_handlers={HTTPException: as_json},
    )


def fields(body: bytes) -> tuple[str, str]:
    """Name and email of a new user."""
    try:
        given = json.loads(body)
    except ValueError:
        raise HTTPException(400, "the body is not JSON") from None
    if not isinstance(given, dict):
        raise HTTPException(400, "the body is not an object")
    for field in FIELDS:
        value = given.get(field)
        if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_FIELD:
            raise HTTPException(400, f"{field} must be a text of 1 to {LONGEST_FIELD} characters")
    return given["name"], given["email"]


async def as_json(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def serve(host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in progress."""
    print(f"Users on http://{host}:{port}/users", flush=True)
    uvicorn.run(new_app(), host=host, port=port, access_log=False, log_level="warning", timeout_graceful_shutdown=5)


def main() -> None:
    parser = argparse.ArgumentParser(description="Users, kept in memory.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    arguments = parser.parse_args()
    serve(arguments.host, arguments.port)


if __name__ == "__main__":
    main()
