"""Which runs the sample project holds: 14 days of a shop's support desk, the same every time, dated relative to today. Pure."""

import hashlib
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

from demo.recorder import Recorder, Setting
from demo.scripts import SYSTEM, TWISTS, run_follow_up, run_long_conversation, run_nightly_audit, run_turn
from demo.shop import make_case

DAYS = 14
REQUESTS = 340  # first requests; about a quarter of them have a second turn, which is a trace of its own
AUDIT_SPANS = 5000
LONG_TURNS = 200
OUTAGE_DAY = 4  # days ago: the order system was down for some hours
RELEASE_DAY = 5  # days ago: v14 went live, which answers more briskly and claims more

AGENTS = {
    "refund_request": ("support-agent", "Support agent"),
    "order_status": ("support-agent", "Support agent"),
    "complaint": ("support-agent", "Support agent"),
    "subscription_change": ("billing-agent", "Billing agent"),
    "address_change": ("returns-agent", "Returns agent"),
}
TOPIC_WEIGHTS = {
    "refund_request": 30,
    "order_status": 28,
    "subscription_change": 18,
    "address_change": 12,
    "complaint": 12,
}
MODELS = {
    "support-agent": ["demo/careful", "demo/brisk"],
    "billing-agent": ["demo/brisk"],
    "returns-agent": ["demo/terse", "demo/brisk"],
}


def plan_runs(now: datetime) -> Iterator[Recorder]:
    """Yield every run of the sample project, finished, oldest day first."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    number = 0
    for index in range(REQUESTS):
        rng = Random(f"markbook-demo-{index}")
        days_ago = DAYS - 1 - index * DAYS // REQUESTS
        seconds = clock_time(rng)
        start = midnight - timedelta(days=days_ago) + timedelta(seconds=seconds)
        if start > now - timedelta(
            minutes=20
        ):  # nothing in the future: what today has not reached is spread over the days before
            start -= timedelta(days=1 + index % (DAYS - 1))
        for run in run_session(index, rng, start, now):
            number += 1
            yield run
    yield run_special(now, "long")
    yield run_special(now, "audit")


def clock_time(rng: Random) -> float:
    """Draw a second of the day: busy from 8 to 20 h, with peaks late in the morning and in the evening."""
    while True:
        hour = rng.uniform(0, 24)
        weight = 0.12 + 0.88 * math.exp(-(((hour - 11) / 3.2) ** 2)) + 0.7 * math.exp(-(((hour - 18.5) / 2.2) ** 2))
        if rng.random() * 1.6 < weight:
            return hour * 3600


def choose_twist(rng: Random, *, days_ago: float, hour: int, topic: str) -> str:
    """Draw what goes wrong: more during the outage, and more claims since the release."""
    if abs(days_ago - OUTAGE_DAY) < 0.6 and 9 <= hour < 15 and topic != "subscription_change" and rng.random() < 0.8:
        return "tool_down"
    share = 0.3 if days_ago <= RELEASE_DAY else 0.2
    if rng.random() > share:
        return ""
    weights = {
        "tool_error": 18,
        "tool_down": 5,
        "loop": 8,
        "wrong_arguments": 14,
        "ignored": 12,
        "claimed": 10,
        "silent": 14,
        "abandoned": 19,
    }
    if days_ago <= RELEASE_DAY:
        weights["claimed"] *= 3
    return rng.choices(TWISTS, [weights[twist] for twist in TWISTS])[0]


def run_session(index: int, rng: Random, start: datetime, now: datetime) -> Iterator[Recorder]:
    """Yield the run of one request and, for some, of the customer's second message."""
    topic = rng.choices(list(TOPIC_WEIGHTS), list(TOPIC_WEIGHTS.values()))[0]
    case = make_case(rng)
    days_ago = (now - start) / timedelta(days=1)
    twist = choose_twist(rng, days_ago=days_ago, hour=start.hour, topic=topic)
    setting = make_setting(index, 0, rng, topic=topic, days_ago=days_ago, plan=case.plan)
    run = Recorder(setting, rng, nanoseconds(start))
    run_turn(run, topic, case, twist)
    yield run
    if twist in ("", "claimed", "silent") and rng.random() < 0.34:
        again = Recorder(
            make_follow_up(setting, index), rng, run.clock + int(rng.uniform(20, 900) * 1e9), thread=run.thread
        )
        run_follow_up(again, case)
        yield again


def make_setting(index: int, turn: int, rng: Random, *, topic: str, days_ago: float, plan: str) -> Setting:
    """Decide who answers, in which release, where."""
    agent_id, agent_name = AGENTS[topic]
    environment = "staging" if rng.random() < 0.12 else "production"
    release = "v14" if days_ago <= RELEASE_DAY or (environment == "staging" and days_ago < 8) else "v13"
    models = MODELS[agent_id]
    model = models[-1] if release == "v14" and len(models) > 1 and rng.random() < 0.6 else models[0]
    channel = rng.choice(["email", "chat", "chat"])
    tags = [channel, *(["vip"] if rng.random() < 0.06 else [])]
    return Setting(
        trace_id=trace_id(index, turn),
        agent_id=agent_id,
        agent_name=agent_name,
        release=release,
        environment=environment,
        session_id=f"conv-{88000 + index}",
        user_id=f"user-{rng.randrange(1, 140):03d}",
        topic=topic,
        model=model,
        tags=tags,
        metadata={"plan": plan, "channel": channel, "scripted": True},
        system=SYSTEM,
        convention="openinference" if agent_id != "billing-agent" else "genai",
    )


def make_follow_up(setting: Setting, index: int) -> Setting:
    """Return the setting of a session's second trace."""
    from dataclasses import replace

    return replace(setting, trace_id=trace_id(index, 1))


def run_special(now: datetime, which: str) -> Recorder:
    """Return the conversation of 200 turns, or the nightly run of 5,000 spans."""
    rng = Random(f"markbook-demo-{which}")
    case = make_case(rng)
    index = 9_000 if which == "long" else 9_001
    setting = make_setting(index, 0, rng, topic="order_status", days_ago=2, plan="annual")
    setting.environment, setting.tags = "production", ["chat"]
    if which == "long":
        setting.topic, setting.model = "tasting_plan", "demo/careful"
        run = Recorder(setting, rng, nanoseconds(now - timedelta(days=2, hours=5)))
        run_long_conversation(run, case, LONG_TURNS)
        return run
    setting.agent_id, setting.agent_name, setting.topic = "catalogue-audit", "Catalogue audit", "nightly_audit"
    setting.model, setting.tags, setting.session_id, setting.user_id = "demo/terse", ["nightly"], "", ""
    run = Recorder(setting, rng, nanoseconds((now - timedelta(days=1)).replace(hour=2, minute=30)))
    run_nightly_audit(run, AUDIT_SPANS)
    return run


def trace_id(index: int, turn: int) -> str:
    """Return a trace id that is the same on every machine."""
    return hashlib.sha256(f"markbook-demo-trace-{index}-{turn}".encode()).hexdigest()[:32]


def nanoseconds(moment: datetime) -> int:
    """Return a moment as nanoseconds since 1970, to the microsecond."""
    return int(moment.timestamp() * 1_000_000) * 1000
