"""A subject, the trace, and the report: from a request to an exit code."""

from __future__ import annotations

import contextlib
import sys

from rsttrace.diagnose.caller import find_caller
from rsttrace.diagnose.chosen import Chosen
from rsttrace.diagnose.ending import Ending
from rsttrace.diagnose.progress import Progress
from rsttrace.diagnose.request import DEFAULT_SECONDS, EXIT_FOUND, Request, what_of
from rsttrace.diagnose.scope import Choice, Wanted, all_of, by_container, by_netns
from rsttrace.diagnose.subject import Subject
from rsttrace.enrich.containers import Container, find
from rsttrace.errors import RsttraceError
from rsttrace.kernel.filters import c_expression
from rsttrace.kernel.loader import check_rights, load_in_background, prepare
from rsttrace.output import Output, terminal_width, wants_colour
from rsttrace.privileges import drop_privileges
from rsttrace.report.model import Watch
from rsttrace.report.sink import ReportSink
from rsttrace.session import Session
from rsttrace.tracing import Limits, Stopper, Tracing, exit_code, write_ready_file


class Patient(Stopper):
    """Leaves the decision to stop to an Ending, which waits for the last parts first."""

    def __init__(self) -> None:
        self.asked = False


def diagnose(request: Request) -> int:
    """Watch, then print the report. Needs root, which it gives up on the way."""
    check_rights()
    container = find(request.container) if request.container else None
    with contextlib.ExitStack() as stack:
        subject = subject_of(request, container)
        stack.callback(subject.close)
        loading = load_in_background(prepare(), c_expression(request.packets), extra=subject.hooks)
        stopper = Stopper()
        session = stack.enter_context(Session(loading, request.record))
        session.learn_host()
        subject.attach(session.kernel)
        if request.ready_file:
            write_ready_file(request.ready_file)
        drop_privileges()
        session.warm_up()
        return Diagnosis(request, subject, container, session, stopper).run()


def subject_of(request: Request, container: Container | None) -> Subject:
    """Made while this process has no threads yet: some of them fork."""
    if request.command:
        from rsttrace.diagnose.command import WatchedCommand

        caller = None if request.as_root else find_caller()
        return WatchedCommand(request.command, caller, request.as_json)
    if request.target:
        from rsttrace.diagnose.probe import Visits
        from rsttrace.diagnose.visit import Plan

        name = "" if request.target.is_address else request.target.host
        plan = Plan(request.tls, name, request.timeout_s, request.wait_s)
        place = container.netns if container else next(iter(request.netns), None)
        return Visits(request.target, plan, request.packets.family, place, find_caller())
    if request.pids:
        from rsttrace.diagnose.processes import Processes

        return Processes(request.pids)
    return Subject()


def wanted_of(request: Request, subject: Subject, container: Container | None) -> Wanted:
    """What belongs to the subject; a target says itself from where it is tried."""
    if request.target:
        return subject.wanted
    parts = [subject.wanted]
    if request.netns:
        parts.append(by_netns(request.netns))
    if container:
        parts.append(by_container(container.holds, container.netns))
    return all_of(*parts)


class Diagnosis:
    """One run, once the trace is on."""

    def __init__(
        self,
        request: Request,
        subject: Subject,
        container: Container | None,
        session: Session,
        stopper: Stopper,
    ) -> None:
        self._request, self._subject, self._session = request, subject, session
        self._stopper = stopper
        self._netns = (container.netns,) if container and container.netns else request.netns
        self._choice = Choice(wanted_of(request, subject, container))
        self._report = ReportSink(
            terminal_width(sys.stdout),
            wants_colour(request.colour, sys.stdout),
            request.verbose,
            request.as_json,
            session.wall_offset_ns,
        )
        self._sink = Chosen(self._report, self._choice)
        names = [session.context.netns_name(inode) or str(inode) for inode in request.netns]
        words = container.words if container else ""
        self._what = what_of(subject.what, words, names, request.packets)
        limit = request.seconds
        self._seconds = DEFAULT_SECONDS if limit is None and not subject.own_time else limit
        alone = not request.command
        self._progress = Progress(sys.stderr, self._what, self._seconds, alone, request.quiet)

    def run(self) -> int:
        """Until it is over; then the report."""
        request, totals = self._request, self._sink.totals
        self._progress.start()
        if self._stopper.asked and self._subject.own_time:
            raise KeyboardInterrupt  # nobody wants it to start any more
        self._subject.begin()
        ending = Ending(self._over, lambda: self._session.pipeline.busy, self._seconds)
        limits = Limits(netns=self._netns, filtered=request.filtered, until=ending)
        output = Output(sys.stdout)
        tracing = Tracing(
            self._session, self._sink, output, limits, Patient(), lambda s, _: self._tell(s)
        )
        failure = None
        try:
            tracing.run(summary=False)
        except RsttraceError as err:  # the recording could not go on: what was seen is still told
            failure = err
        self._subject.finish()
        self._progress.erase()
        self._choice.end()
        totals.duration_s = tracing.totals.duration_s
        totals.completeness = tracing.totals.completeness
        output.write(self._report.report(totals, self._watch(totals.duration_s)))
        if failure:
            raise failure
        if self._report.matches(request.fail_on):
            return EXIT_FOUND
        return exit_code(totals, request.strict)

    def _over(self) -> bool:
        return self._subject.over() or self._stopper.asked

    def _tell(self, seconds: float) -> None:
        if news := self._subject.news():
            self._progress.say(news)
        self._progress.show(seconds, self._sink.totals.resets)

    def _watch(self, seconds: float) -> Watch:
        session = self._session
        return Watch(
            what=self._what,
            host=session.host_facts(),
            seconds=seconds,
            scoped=self._request.scoped,
            others=self._choice.others,
            command=self._subject.command,
            probe=self._subject.probe,
            counters=session.counter_increments(self._netns),
            problems=(*self._subject.problems(), *_damage(session.pipeline.damaged)),
        )


def _damage(records: int) -> tuple[str, ...]:
    return (f"{records} records could not be decoded: report this.",) if records else ()
