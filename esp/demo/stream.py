"""The streaming part of the demonstration: play, read, watch, swap the model half-way, wait until all has come back."""

import time
from dataclasses import dataclass

from esp.client import AdminClient
from esp.demo.engine_process import EngineProcess
from esp.demo.folders import QueryFolder
from esp.demo.models import Model
from esp.demo.players import Player, malformed_digit, plan_digits, plan_shoulder
from esp.demo.readers import DigitsTally, Reader, ShoulderTally
from esp.demo.table import Board, Row
from esp.demo.topics import Cluster
from esp.runtime.durations import parse_duration

RATE = 2000.0  # digits a second
LEAD_S = 0.3  # from the plan to the first event
HELD_SHARE = 0.1  # of the digits, which wait for the second model: it has some to score on the slowest machine
PATIENCE_S = 10.0  # without any record from the engine before what is missing counts as lost
LOOK_S = 0.05
FIRST_SLOW_ID, SLOW_S = 1_000_000_000, 10.0  # ids of what is played while it stays up, planned so far ahead


@dataclass(slots=True)
class Played:
    """What was played and what came back."""

    digits: DigitsTally
    shoulder: ShoulderTally
    digits_player: Player
    shoulder_player: Player
    reader: Reader
    max_delay_ms: int

    @property
    def is_complete(self) -> bool:
        """Whether everything that must come has come."""
        if self.digits.lost or self.shoulder.lost or not self.digits.dead_reasons:
            return False
        return self.digits.counted.total() >= self.digits.closed(self.max_delay_ms).total()

    @property
    def refusals(self) -> tuple[str, ...]:
        """What went wrong on our side of the topics."""
        players = (self.digits_player, self.shoulder_player)
        said = [
            f"{player.topic}: the broker refused {player.refused} events ({player.failure})" for player in players if player.refused
        ]
        return (*said, *([f"the reader failed: {self.reader.failure!r}"] if self.reader.failure else []))

    def rows(self) -> list[Row]:
        """The live table's."""
        digits, shoulder = self.digits, self.shoulder
        return [
            Row(
                "digits_camera", self.digits_player.sent, len(digits.plan.events), int(digits.times.sum()), digits.latencies.quantile_ms(0.5),
                digits.latencies.quantile_ms(0.99), digits.accuracy, tuple(digits.by_model),
            ),
            Row(
                "shoulder_imu", self.shoulder_player.sent, len(shoulder.plan.expected), shoulder.scored, shoulder.latencies.quantile_ms(0.5),
                shoulder.latencies.quantile_ms(0.99), shoulder.accuracy, tuple(shoulder.models),
            ),
        ]  # fmt: skip

    def stop(self) -> None:
        """Ends players and reader, whatever they are at."""
        for part in (self.digits_player, self.shoulder_player, self.reader):
            part.stop()


def begin(cluster: Cluster, queries: tuple[QueryFolder, QueryFolder], models: tuple[Model, Model], play_s: float) -> Played:
    """Plans everything, starts the reader, then the players."""
    digits_query, shoulder_query = queries
    start_s, start_ms = time.monotonic() + LEAD_S, round((time.time() + LEAD_S) * 1000)
    digits_plan = plan_digits(models[0].held_out, RATE, play_s, start_ms)
    shoulder_plan = plan_shoulder(models[1].held_out, shoulder_query, play_s, start_ms)
    start_s = max(start_s, time.monotonic())
    digits, shoulder = DigitsTally(digits_plan, start_s), ShoulderTally(shoulder_plan, start_s)
    takes = {
        digits_query.topic("scores"): digits.take_score, digits_query.topic("tallies"): digits.take_count,
        digits_query.dead_topic: digits.take_dead, shoulder_query.topic("activities"): shoulder.take,
    }  # fmt: skip
    reader = Reader(cluster, takes).start()
    players = (
        Player(cluster, digits_query.topic("images"), digits_plan.events, hold_s=play_s * (1 - HELD_SHARE)),
        Player(cluster, shoulder_query.topic("samples"), shoulder_plan.events),
    )
    max_delay_ms = parse_duration(digits_query.window("images").get("max_delay", 0)) // 1_000_000
    for player in players:
        player.start(start_s)
    return Played(digits, shoulder, *players, reader, max_delay_ms)


def watch(played: Played, board: Board, engine: EngineProcess, window: str, second: Model, play_s: float) -> None:
    """Shows the table until everything has come back; half-way, once the first model scores, a bad event is played and the second deployed."""
    half_s, is_deployed = played.digits.start_s + play_s / 2, False
    over_s = half_s + play_s / 2
    while not played.is_complete or not (played.digits_player.is_done and played.shoulder_player.is_done):
        board.tick()
        if engine.status is not None:  # what is missing will be called lost
            return
        now_s = time.monotonic()
        if not is_deployed and now_s >= half_s and played.digits.by_model:
            is_deployed = True
            played.digits_player.send(malformed_digit())
            answer = AdminClient(engine.url).deploy(second.path, window)
            played.digits_player.release()
            over_s = max(over_s, time.monotonic())
            board.say(
                f"{window}: {answer['new'][:12]} scores in the place of {answer['old'][:12]} ({time.monotonic() - now_s:.2f} s)"
            )
        if now_s - max(over_s, played.reader.last_s) > PATIENCE_S:
            return
        time.sleep(LOOK_S)


def play_on(cluster: Cluster, query: QueryFolder, model: Model, rate: float) -> None:
    """Plays digits slowly, until interrupted."""
    first_id = FIRST_SLOW_ID
    while True:
        plan = plan_digits(model.held_out, rate, SLOW_S, round(time.time() * 1000), first_id)
        player = Player(cluster, query.topic("images"), plan.events).start(time.monotonic())
        try:
            while not player.is_done:
                time.sleep(LOOK_S)
        finally:
            player.stop()
        first_id += len(plan.events)
