"""requests, httpx, aiohttp and PySocks through the proxy: absolute-form HTTP, CONNECT and SOCKS5.

HTTP_LINE and SOCKS_LINE are proxy URLs with credentials, CA the origin's authority, COUNTRY the one
to come out in. Prints "ok NAME" for each case.
"""

import asyncio
import os
import ssl
from urllib.parse import unquote, urlsplit

import aiohttp
import httpx
import requests
import socks

HTTP, SOCKS, CA, COUNTRY = (os.environ[name] for name in ("HTTP_LINE", "SOCKS_LINE", "CA", "COUNTRY"))
SIZE = 300_000
PATTERN = (bytes(range(251)) * (SIZE // 251 + 1))[:SIZE]
UPLOAD = bytes(range(256)) * 500
TIMEOUT = 60


def check(name, ip, down, echo):
    assert ip["country"] == COUNTRY, (name, ip)
    assert down == PATTERN, (name, len(down))
    assert echo == UPLOAD, (name, len(echo))
    print("ok", name, flush=True)


def with_requests(name, proxy, scheme):
    with requests.Session() as session:
        session.trust_env = False
        session.proxies = {scheme: proxy}
        session.verify = CA
        origin = f"{scheme}://origin.test"
        ip = session.get(f"{origin}/ip", timeout=TIMEOUT)
        assert ip.status_code == 200, (name, ip.status_code, ip.text)
        down = session.get(f"{origin}/bytes/{SIZE}", timeout=TIMEOUT).content
        check(name, ip.json(), down, session.post(f"{origin}/echo", data=UPLOAD, timeout=TIMEOUT).content)


def with_httpx(name, proxy, scheme, context):
    with httpx.Client(proxy=proxy, verify=context, trust_env=False, timeout=TIMEOUT) as client:
        origin = f"{scheme}://origin.test"
        ip = client.get(f"{origin}/ip")
        assert ip.status_code == 200, (name, ip.status_code, ip.text)
        down = client.get(f"{origin}/bytes/{SIZE}").content
        check(name, ip.json(), down, client.post(f"{origin}/echo", content=UPLOAD).content)


async def with_aiohttp(name, scheme, context):
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        origin, how = f"{scheme}://origin.test", {"proxy": HTTP, "ssl": context}
        async with session.get(f"{origin}/ip", **how) as answer:
            assert answer.status == 200, (name, answer.status, await answer.text())
            ip = await answer.json()
        async with session.get(f"{origin}/bytes/{SIZE}", **how) as answer:
            down = await answer.read()
        async with session.post(f"{origin}/echo", data=UPLOAD, **how) as answer:
            check(name, ip, down, await answer.read())


def with_pysocks(name):
    """A bare socket; the proxy resolves the name."""
    proxy = urlsplit(SOCKS)
    with socks.socksocket() as sock:
        sock.set_proxy(socks.SOCKS5, proxy.hostname, proxy.port, True, unquote(proxy.username), unquote(proxy.password))
        sock.settimeout(TIMEOUT)
        sock.connect(("origin.test", 80))
        sock.sendall(f"GET /bytes/{SIZE} HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n".encode())
        with sock.makefile("rb") as stream:
            head, body = stream.read().split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 200"), (name, head)
    assert body == PATTERN, (name, len(body))
    print("ok", name, flush=True)


def wrong_password(name):
    """Refused in a way that each library understands."""
    proxy = urlsplit(HTTP)
    wrong = f"http://{proxy.username}:EXAMPLE-wrong@{proxy.hostname}:{proxy.port}"
    with requests.Session() as session:
        session.trust_env = False
        session.proxies = {"http": wrong, "https": wrong}
        assert session.get("http://origin.test/ip", timeout=TIMEOUT).status_code == 407
        try:
            session.get("https://origin.test/ip", timeout=TIMEOUT)
            raise AssertionError("a wrong password passed")
        except requests.exceptions.ProxyError as error:
            assert "407" in str(error), error
        session.proxies = {"http": wrong.replace("http:", "socks5h:", 1)}
        try:
            session.get("http://origin.test/ip", timeout=TIMEOUT)
            raise AssertionError("a wrong password passed")
        except requests.exceptions.ConnectionError as error:
            assert "authentication" in str(error).lower(), error
    print("ok", name, flush=True)


def main():
    context = ssl.create_default_context(cafile=CA)
    with_requests("requests http", HTTP, "http")
    with_requests("requests connect", HTTP, "https")
    with_requests("requests socks5h http", SOCKS, "http")
    with_requests("requests socks5h https", SOCKS, "https")
    with_httpx("httpx http", HTTP, "http", context)
    with_httpx("httpx connect", HTTP, "https", context)
    with_httpx("httpx socks5h https", SOCKS, "https", context)
    asyncio.run(with_aiohttp("aiohttp http", "http", context))
    asyncio.run(with_aiohttp("aiohttp connect", "https", context))
    with_pysocks("pysocks")
    wrong_password("wrong password")


main()
