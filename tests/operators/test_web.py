"""What web requests promise: targets arrive as given, and redirects lead to the public internet alone."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Iterator

import pytest
from websites import PUBLIC, Names, Site, certified, running_site

from operators import storage
from operators.fetch import ABSENT, FetchAttemptError, content_versions, fetch
from operators.uris import request_target, sent_on
from operators.web import MAX_REDIRECTS

MEDIA, ELSEWHERE = "media.test", "elsewhere.test"
REBOUND = ["rebound.test", "bound.test"]  # one a test, as connections stay open


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Site]]:
    """Two https sites; the environment trusts them."""
    context, trusted = certified(tmp_path_factory.mktemp("tls"), [MEDIA, ELSEWHERE, *REBOUND, "localhost"])
    with (
        running_site(context) as one,
        running_site(context) as other,
        pytest.MonkeyPatch.context() as environment,
    ):
        environment.setenv("SSL_CERT_FILE", str(trusted))
        yield one, other


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """The resolver that is asked; the sites' names are public, and lead here."""
    names = Names({MEDIA: [[PUBLIC]], ELSEWHERE: [[PUBLIC]]})
    names.in_force(monkeypatch)
    return names


@pytest.fixture
def site(sites: tuple[Site, Site], names: Names) -> Site:
    """The site that the manifest names, without memory of other tests."""
    for one in sites:
        one.asked, one.headers, one.locations, one.status = [], [], {}, 302
    return sites[0]


@pytest.fixture
def other(sites: tuple[Site, Site], site: Site) -> Site:
    """A site that requests are sent on to."""
    return sites[1]


def fetched(uri: str) -> bytes:
    target = io.BytesIO()
    fetch(uri, target, max_bytes=10**6, timeout_seconds=20, max_attempts=1)
    return target.getvalue()


def refusal(uri: str) -> FetchAttemptError:
    with pytest.raises(FetchAttemptError) as caught:
        fetched(uri)
    return caught.value


SIGNED = [
    "/a%20b/clip.mp4?X-Amz-Credential=AKIA%2F20261128%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature=ab",
    "/it%27s.mp4?sig=a%2Bb%3D%3D",
    "/me%40home/v%3A1.mp4",
    "/%7Euser/%2D%2E%5F.mp4",
    "/~user/'quoted'(1)!*.mp4?response-content-disposition=attachment;%20filename=%22a.mp4%22",
    "/lower%2fcase%2F?x=%c3%a9&y=%C3%A9",
    "/plus+and%2Bplus?q=a+b%20c",
    "/?",
    "/v.mp4?",
    "/v.mp4?a&b=&=c&&",
    "//two//slashes/",
    "/dots/../up/./here/%2e%2e/x",
    "/v.mp4?sig=a/../b//c",
    "/100%/50%zz?%",
    "/v.mp4?redirect=https%3A%2F%2Fx.test%2F%3Fa%3Db",
    "/v.mp4?url=https://x.test/?a@b:c",
    '/odd"<>[]{}|\\^`.mp4?"<>[]{}|\\^`',
    "/;params;more=1,2;/x$&=",
]


@pytest.mark.parametrize("target", SIGNED)
def test_a_signed_target_arrives_as_it_was_given(site: Site, other: Site, target: str) -> None:
    site.locations["/first"] = f"https://{ELSEWHERE}:{other.port}{target}"
    assert fetched(f"https://{MEDIA}:{site.port}{target}") == site.content
    assert fetched(f"https://{MEDIA}:{site.port}/first") == other.content
    content_versions([f"https://{MEDIA}:{site.port}{target}"])
    assert site.asked[0] == f"GET {target} HTTP/1.1"
    assert site.asked[2] == f"HEAD {target} HTTP/1.1"
    assert other.asked == [f"GET {target} HTTP/1.1"]


@pytest.mark.slow
def test_random_targets_arrive_as_they_were_given_directly_and_after_redirects(
    site: Site, other: Site
) -> None:
    draw = random.Random(11)
    visible = [chr(code) for code in range(0x21, 0x7F) if chr(code) != "#"]
    for number in range(150):
        pieces = draw.choices([*visible, "%", "/", "."], k=draw.randint(0, 40))
        pieces += [f"%{draw.getrandbits(8):{draw.choice(['02x', '02X'])}}" for _ in range(number % 20)]
        draw.shuffle(pieces)
        target = f"/{number}{''.join(pieces)}"
        site.locations = {f"/{number}": target, "/far": f"https://{ELSEWHERE}:{other.port}{target}"}
        for start in (target, f"/{number}", "/far"):
            fetched(f"https://{MEDIA}:{site.port}{start}")
        line = f"GET {target} HTTP/1.1"
        assert [site.asked[0], site.asked[2], other.asked[0]] == [line] * 3
        site.asked, other.asked = [], []


def test_what_no_request_holds_is_encoded() -> None:
    assert request_target("https://h/a b\r\nHost: x\0é?ü\x7f#f") == "/a%20b%0D%0AHost:%20x%00%C3%A9?%C3%BC%7F"
    assert request_target("https://h?a=b") == "/?a=b"
    assert request_target("https://h") == "/"
    assert request_target("https://h#/?") == "/"


@pytest.mark.parametrize(
    ("base", "location", "meant"),
    [
        ("https://h:1/a/b?q", "https://x/%7e?", "https://x/%7e?"),
        ("https://h:1/a/b?q", "//x/%7e", "https://x/%7e"),
        ("https://h:1/a/b?q", "/c//../%2e?%27", "https://h:1/c//../%2e?%27"),
        ("https://h:1/a/b?q", "?%27&", "https://h:1/a/b?%27&"),
        ("https://h:1/a/b?q", "c%2f?x/../y", "https://h:1/a/c%2f?x/../y"),
        ("https://h:1/a//b?q", "../c?", "https://h:1/a/c?"),
        ("https://h:1/a/b?q", "../../../c", "https://h:1/c"),
        ("https://h:1?q=/x", "c", "https://h:1/c"),
        ("https://h:1/a/b?q", "", "https://h:1/a/b?q"),
        ("https://h:1/a/b?q", "/c#f?", "https://h:1/c"),
        ("https://h:1/a/b?q", "ftp:c", "ftp:c"),
        ("https://h:1/a/b?q", "https:c", "https:c"),
    ],
)
def test_a_location_is_resolved_and_left_as_it_is(base: str, location: str, meant: str) -> None:
    assert sent_on(base, location) == meant


def test_a_relative_name_of_a_web_manifest_keeps_its_query() -> None:
    assert storage.join("https://h/m", "../v.mp4?sig=a/../b//%27") == "https://h/v.mp4?sig=a/../b//%27"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_and_a_bounded_number_of_them(site: Site, status: int) -> None:
    site.status = status
    site.locations = {f"/{n}": f"/{n + 1}" for n in range(MAX_REDIRECTS)}
    assert fetched(f"https://{MEDIA}:{site.port}/0") == site.content
    site.locations["/x"] = "/0"
    error = refusal(f"https://{MEDIA}:{site.port}/x")
    assert error.code == "fetch_redirect_refused"
    assert str(MAX_REDIRECTS) in str(error)
    site.locations["/loop"] = "/loop"
    assert refusal(f"https://{MEDIA}:{site.port}/loop").code == "fetch_redirect_refused"


@pytest.mark.parametrize("status", [300, 304, 305, 399])
def test_an_answer_that_is_no_success_is_no_video(site: Site, status: int) -> None:
    site.status = status
    site.locations["/v"] = "/elsewhere"
    error = refusal(f"https://{MEDIA}:{site.port}/v")
    assert (error.code, f"HTTP {status}" in str(error)) == ("fetch_failed", True)
    assert content_versions([f"https://{MEDIA}:{site.port}/v"]) == [None]


@pytest.mark.parametrize(
    "location",
    [
        "http://elsewhere.test:{port}/v?token=hidden",
        "HTTP://elsewhere.test:{port}/v?token=hidden",
        "ftp://elsewhere.test/v?token=hidden",
        "file:///etc/passwd?token=hidden",
        "s3://bucket/key?token=hidden",
        "javascript:alert(1)?token=hidden",
        "https:elsewhere.test?token=hidden",
        "\\\\elsewhere.test\\v:?token=hidden",
        "http://\x7f\x9b31m.test/?token=hidden",
        "gopher://" + "a" * 5000 + "?token=hidden",
    ],
)
def test_a_redirect_to_anything_but_https_is_refused_and_reaches_no_one(
    site: Site, other: Site, location: str
) -> None:
    site.locations["/v"] = location.format(port=other.port)
    if location.startswith("\\"):  # a path, of the same site
        assert fetched(f"https://{MEDIA}:{site.port}/v") == site.content
        return
    error = refusal(f"https://{MEDIA}:{site.port}/v")
    assert (error.code, error.attempts, other.asked) == ("fetch_redirect_refused", 1, [])
    assert "https" in str(error)
    assert "hidden" not in str(error)
    assert str(error).isprintable()
    assert len(str(error)) < 400


HIDDEN = [
    "127.0.0.1",
    "10.0.0.1",
    "169.254.169.254",
    "192.168.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "fe80::1",
    "fd00:ec2::254",
]


@pytest.mark.parametrize("address", HIDDEN)
@pytest.mark.parametrize("named", [False, True])
def test_a_redirect_to_what_is_not_public_is_refused_before_it_is_reached(
    site: Site, other: Site, names: Names, address: str, named: bool
) -> None:
    literal = f"[{address}]" if ":" in address else address
    names.answers["inside.test"] = [[address]]
    site.locations["/v"] = f"https://{'inside.test' if named else literal}:{other.port}/v"
    error = refusal(f"https://{MEDIA}:{site.port}/v")
    assert (error.code, error.attempts) == ("fetch_redirect_refused", 1)
    assert "public internet" in str(error)
    assert set(names.connected) <= {PUBLIC}
    assert other.asked == []


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "127.0.0.1."])
def test_no_spelling_of_this_machine_is_followed(site: Site, other: Site, names: Names, host: str) -> None:
    site.locations["/v"] = f"https://{host}:{other.port}/v"
    assert refusal(f"https://{MEDIA}:{site.port}/v").code.startswith("fetch_")
    assert set(names.connected) <= {PUBLIC}
    assert other.asked == []


@pytest.mark.parametrize(
    ("name", "answers"),
    list(zip(REBOUND, [[[PUBLIC], ["127.0.0.1"]], [["127.0.0.1"], [PUBLIC]]], strict=True)),
)
def test_a_name_that_changes_its_address_never_leads_inside(
    site: Site, other: Site, names: Names, name: str, answers: list[list[str]]
) -> None:
    names.answers[name] = answers
    for _ in range(3):
        site.locations["/v"] = f"https://{name}:{other.port}/v"
        with contextlib.suppress(FetchAttemptError):
            fetched(f"https://{MEDIA}:{site.port}/v")
    assert name in names.asked
    assert set(names.connected) <= {PUBLIC}


def test_of_several_addresses_only_public_ones_are_connected_to(
    site: Site, other: Site, names: Names
) -> None:
    names.answers["mixed.test"] = [["127.0.0.1", "::1", "10.0.0.1"]]
    site.locations["/v"] = f"https://mixed.test:{other.port}/v"
    assert refusal(f"https://{MEDIA}:{site.port}/v").code == "fetch_redirect_refused"
    assert set(names.connected) <= {PUBLIC}
    assert other.asked == []


def test_every_hop_is_checked(site: Site, other: Site, names: Names) -> None:
    names.answers["inside.test"] = [["127.0.0.1"]]
    site.locations["/v"] = f"https://{ELSEWHERE}:{other.port}/second"
    other.locations["/second"] = f"https://inside.test:{site.port}/third"
    assert refusal(f"https://{MEDIA}:{site.port}/v").code == "fetch_redirect_refused"
    assert [line.split(" ")[1] for line in site.asked + other.asked] == ["/v", "/second"]


def test_the_address_that_the_manifest_names_may_be_any_and_redirects_from_it_may_not(
    site: Site, other: Site
) -> None:
    with running_site(None) as plain:
        assert fetched(f"http://127.0.0.1:{plain.port}/v") == plain.content
        plain.locations = {"/same": "/v", "/out": f"https://{MEDIA}:{site.port}/v"}
        assert refusal(f"http://127.0.0.1:{plain.port}/same").code == "fetch_redirect_refused"
        assert fetched(f"http://127.0.0.1:{plain.port}/out") == site.content
    assert fetched(f"https://127.0.0.1:{site.port}/v") == site.content
    site.locations["/same"] = "/v"
    assert refusal(f"https://127.0.0.1:{site.port}/same").code == "fetch_redirect_refused"


def test_no_host_is_told_of_another(site: Site, other: Site) -> None:
    site.locations["/v"] = f"https://user:word@{ELSEWHERE}:{other.port}/v"
    for _ in range(2):
        fetched(f"https://me:secret@{MEDIA}:{site.port}/v")
    sent = {name.lower() for headers in site.headers + other.headers for name in headers}
    assert sent <= {"host", "accept", "accept-encoding", "user-agent"}


def test_a_version_is_that_of_where_a_redirect_leads(site: Site, other: Site) -> None:
    site.locations["/v"] = f"https://{ELSEWHERE}:{other.port}/v"
    site.locations["/in"] = f"https://127.0.0.1:{other.port}/v"
    uris = [f"https://{MEDIA}:{site.port}/{name}" for name in ("v", "in")]
    followed, refused = content_versions(uris)
    assert followed not in {None, ABSENT}
    assert refused is None


def test_a_name_that_nobody_knows_is_unreachable(site: Site, names: Names) -> None:
    site.locations["/v"] = "https://no-such-name.invalid/v"
    assert refusal(f"https://{MEDIA}:{site.port}/v").code == "fetch_unreachable"
