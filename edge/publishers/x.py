"""Posts to X (Twitter): text and picture, by tweepy. What X answers decides whether a post waits, is over or counts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import re
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NoReturn

import requests
import tweepy

from edge.config_feed import XConfig
from edge.errors import ConfigError
from edge.publishers import Later, Post, Refused, secret
from edge.publishers.x_text import MOST, fit, has_link
from edge.publishers.x_wire import Answer, NoAnswer, NotTaken, Wire

log = logging.getLogger(__name__)

_DEADLINE_S = 20.0  # of one request; a post with a picture takes three
_UPLINK = 16_000  # bytes a second, where a picture may take longer: gardens have poor lines
_KEYS_S, _MONEY_S, _RIGHTS_S = 3600.0, 6 * 3600.0, 6 * 3600.0  # only the owner can mend these
_UNKNOWN_S = 3600.0
_WINDOW_S, _LONGEST_S = 900.0, 24 * 3600.0  # of X's limits
_CLOCK_S = 240.0  # beyond, X takes no signature
_UPLOAD_KEPT_S = 3600.0  # X keeps an upload for a day
_MOST_ALT = 1000
_PICTURE_UNFIT = (400, 404, 413, 415, 422)
_RIGHTS = (
    "oauth1-permissions",
    "client-forbidden",
    "client-not-enrolled",
    "unsupported-authentication",
    "not permitted to access",
    "suspended",
    "locked",
)  # in a 403: it is not this post, but all of them


@dataclass(frozen=True, slots=True)
class Keys:
    """The app's and the account's, from X's developer console."""

    consumer_key: str = field(repr=False)
    consumer_secret: str = field(repr=False)
    access_token: str = field(repr=False)
    access_token_secret: str = field(repr=False)

    @classmethod
    def read(cls, file: str) -> Keys:
        """Raises `ConfigError`, which tells nothing of what is in the file."""
        path, names = Path(file), [key.name for key in fields(cls)]
        try:
            found = tomllib.loads(secret.read("x.credentials", path).decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            raise ConfigError(f'x.credentials {path}: not TOML; it takes four lines like {names[0]} = "…"') from None
        if missing := [name for name in names if name not in found]:
            raise ConfigError(f"x.credentials {path}: lacks {', '.join(missing)}")
        if len(found) > len(names):
            raise ConfigError(f"x.credentials {path}: holds more than {', '.join(names)}")
        for name, value in found.items():
            if not (isinstance(value, str) and re.fullmatch(r"[!-~]{8,200}", value)):
                raise ConfigError(f"x.credentials {path}: {name} is none; copy it anew from console.x.com")
        return cls(**found)


class X:
    """One account. A poster: see `edge.publishers`."""

    name = "x"
    most_text = MOST
    most_picture = 1_000_000  # X takes five, and makes them smaller

    def __init__(
        self,
        config: XConfig,
        *,
        api: str = "https://api.x.com",
        deadline_s: float = _DEADLINE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock`: seconds, rising. Raises `ConfigError` for a file of keys that cannot be used."""
        self._config, self._clock = config, clock
        self._keys = Keys.read(config.credentials)
        for library in ("tweepy", "oauthlib", "requests_oauthlib"):
            logging.getLogger(library).setLevel(logging.WARNING)  # below, they tell keys and signatures
        keys = self._keys
        names = (keys.consumer_key, keys.consumer_secret, keys.access_token, keys.access_token_secret)
        self._signature = tweepy.OAuth1UserHandler(*names).apply_auth()
        self._client = tweepy.Client(None, *names, return_type=requests.Response)
        self._wire = self._client.session = Wire(api, deadline_s)
        self._limited_until = -math.inf
        self._uploaded = ("", "", -math.inf)  # of which picture and words, X's name for it, for how long

    def price(self, post: Post) -> float:
        """Dollars that this post costs."""
        price = self._config.price_with_url if has_link(self.words(post)) else self._config.price
        return price + (self._config.price_picture if post.picture else 0.0)

    def words(self, post: Post) -> str:
        """What of the post's words X gets; empty where nothing is left."""
        return fit(post.text, self._config.urls) or fit(post.title, self._config.urls)

    def send(self, post: Post) -> str:
        """Post it. Raises `Later`, `Refused`. A picture that X does not want, or words on it, hold up nothing."""
        text = self.words(post)
        if not text:
            raise Refused("x: links taken out, nothing of the post is left to read")
        if (wait_s := self._limited_until - self._clock()) > 0:
            raise Later("x: its limit is used up for now", after_s=wait_s)
        media = self._picture(post)
        try:
            return self._post(text, media)
        except Refused as error:
            if not media:
                raise
            log.warning("%s; once more without the picture", error)
            return self._post(text, "")

    def close(self) -> None:
        """End the request under way. Any thread."""
        self._wire.close()

    def _post(self, text: str, media: str) -> str:
        """X's name for the post.

        Where X says "created" but not what, it is delivered: a post that is lost would be made good by none, but this
        one is there, and sent again it would cost again and stand there twice.
        """
        try:
            answer: Answer = self._client.create_tweet(text=text, media_ids=[media] if media else None)
        except NoAnswer as error:
            raise Later(f"x: {error}") from None
        except NotTaken as error:
            if error.answer.status_code == 403 and "duplicate content" in self._detail(error.answer):
                return ""
            self._judge(error.answer)
        self._limited_until = self._clock() + _limit_s(answer)
        name = _data(answer).get("id")
        if not name and answer.status_code != 201:
            raise Later(f"x: status {answer.status_code}, but no post")
        return str(name or "")

    def _picture(self, post: Post) -> str:
        """X's name for the picture, "" where it does not want it. Raises `Later`."""
        if not post.picture:
            return ""
        if len(post.picture) > self.most_picture:
            log.warning("x: a picture of %d bytes is too large; posted without", len(post.picture))
            return ""
        mark = hashlib.sha256(post.picture + post.alt.encode()).hexdigest()
        if mark == self._uploaded[0] and self._clock() < self._uploaded[2]:
            return self._uploaded[1]
        media = self._upload(post.picture)
        if media and post.alt:
            self._describe(media, post.alt)
        self._uploaded = (mark, media, self._clock() + _UPLOAD_KEPT_S)
        return media

    def _upload(self, picture: bytes) -> str:
        try:
            answer = self._wire.request(
                "POST",
                "/2/media/upload",
                len(picture) / _UPLINK,
                files={"media": ("picture.jpg", picture, "image/jpeg")},
                data={"media_category": "tweet_image", "media_type": "image/jpeg"},
                auth=self._signature,
            )
        except NoAnswer as error:
            raise Later(f"x: picture: {error}") from None
        except NotTaken as error:
            if error.answer.status_code not in _PICTURE_UNFIT:
                with contextlib.suppress(Refused):
                    self._judge(error.answer)
            log.warning("x: posted without its picture: %s", self._told(error.answer))
            return ""
        if name := _data(answer).get("id"):
            return str(name)
        raise Later("x: picture: taken, but under no name")

    def _describe(self, media: str, alt: str) -> None:
        words = {"id": media, "metadata": {"alt_text": {"text": alt[:_MOST_ALT]}}}
        try:
            self._wire.request("POST", "/2/media/metadata", json=words, auth=self._signature)
        except NoAnswer as error:
            log.warning("x: the picture stays without words: %s", error)
        except NotTaken as error:
            log.warning("x: the picture stays without words: %s", self._told(error.answer))

    def _judge(self, answer: Answer) -> NoReturn:
        """What an answer that is no success means. Raises `Later`, `Refused`."""
        status, detail, told = answer.status_code, self._detail(answer), self._told(answer)
        if status == 401:
            off_s = abs(time.time() - _its_time(answer))
            if off_s > _CLOCK_S:
                raise Later(f"x: {told}: this machine's clock is wrong by {off_s:.0f} s", after_s=_WINDOW_S)
            raise Later(f"x: {told}: the keys in {self._config.credentials} are not taken", after_s=_KEYS_S)
        if status == 402 or (status == 403 and ("credits" in detail or "spending limit" in detail)):
            raise Later(f"x: {told}: no credits left; buy some at console.x.com", after_s=_MONEY_S)
        if status == 429:
            raise Later(f"x: {told}", after_s=_MONEY_S if "usage-capped" in detail else _limit_s(answer))
        if status >= 500 or status == 408 or (status in (400, 403) and not answer.whole):
            raise Later(f"x: {told}")
        if status == 403 and any(word in detail for word in _RIGHTS):
            hint = "give the app the permission to read and write, then make its access token anew"
            raise Later(f"x: {told}; at console.x.com, {hint}", after_s=_RIGHTS_S)
        if status in (400, 403, 413, 422):
            raise Refused(f"x: {told}")
        raise Later(f"x: {told}: not as X's documentation has it", after_s=_UNKNOWN_S)

    def _told(self, answer: Answer) -> str:
        """Status and reason in one short line; of an error in HTML only the status. No key is in it."""
        problem = _json(answer)
        said = str(problem.get("detail") or problem.get("title") or "")
        for key in fields(self._keys):
            said = said.replace(getattr(self._keys, key.name), "…")
        return f"status {answer.status_code} {' '.join(fit(said, urls=False).split())[:160]}".rstrip()

    def _detail(self, answer: Answer) -> str:
        """All that a problem says of itself, in small letters."""
        problem = _json(answer)
        return " ".join(str(problem.get(part, "")) for part in ("title", "type", "reason", "detail")).lower()


def _json(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _data(answer: Answer) -> dict[str, Any]:
    data = _json(answer).get("data")
    return data if isinstance(data, dict) else {}


def _its_time(answer: Answer) -> float:
    """X's own time, in seconds since 1970; ours where it does not say. A limit's end is given in it."""
    try:
        return parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return time.time()


def _limit_s(answer: Answer) -> float:
    """For how many seconds a limit is used up; 0 where none is. They are of 15 minutes and, at times, of a day."""
    says = answer.headers
    limits = ("x-rate-limit", "x-user-limit-24hour", "x-app-limit-24hour")
    used_up = [limit for limit in limits if says.get(f"{limit}-remaining") == "0"]
    if answer.status_code == 429:
        used_up = used_up or ["x-rate-limit"]
    resets = [says.get(f"{limit}-reset", "") for limit in used_up]
    waits_s = [float(reset) - _its_time(answer) if reset.isdecimal() else _WINDOW_S for reset in resets]
    return min(max(1.0, *waits_s), _LONGEST_S) if waits_s else 0.0
