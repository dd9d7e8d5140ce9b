"""gdb commands for programs that use Majjen, live or as a core file.

    (gdb) source tools/majjen-gdb.py
    (gdb) mj tasks              the tasks of the scheduler that runs on the selected thread
    (gdb) mj tasks EXPRESSION   the tasks of the scheduler whose address this is
    (gdb) mj bt N [EXPRESSION]  the backtrace of one of them; N is its number or its id
    (gdb) mj graph [EXPRESSION] who waits for whom, and in circles: deadlocks; of all schedulers, or of one
    (gdb) mj core FILE          generate-core-file, with the tasks' stacks, which that may leave out

It calls nothing in the program and writes nothing to it, so it is safe at any stop and works in a
core file. What it knows of the library's data is in a table there, which
src/engine/inspect/debugger.rs describes: in the section `.note.majjen`, which stripped programs have, too.
"""

import re
import struct

import gdb
import gdb.unwinder

VERSION = 5
FIELDS = (
    "living_head living_next living_word living_thread living_has_own_clock scheduler_bytes"
    " scheduler_living scheduler_current_task scheduler_chunks_first scheduler_chunks_count"
    " scheduler_metrics metrics_bytes scheduler_turn_began scheduler_turn_times scheduler_lateness"
    " histogram_buckets histogram_parts chunk_bytes chunk_memory chunk_slots task_bytes task_body"
    " task_group task_state task_wake_time_ns task_heap_index task_context task_queued task_alive"
    " task_canceled task_daemon task_turns task_wait task_interest task_stack_top task_locks"
    " task_id id_number_bits task_name name_bytes context_caller context_fp context_pc node_bytes"
    " node_fd node_events mutex_owner condition_mutex semaphore_available wait_group_left"
    " group_taken select_cases case_bytes case_operation case_channel case_fd case_events"
    " case_task case_deadline_ns case_remote channel_capacity channel_length"
).split()

SLEEPING = 1
OBJECT_IS_ADDRESS, OBJECT_IS_DESCRIPTOR, OBJECT_IS_TASK = 0, 1, 2
NAME_BYTES = 16  # Of the name of a kind of waits: no kind has a longer one.
NOTE_NAME, NOTE_KIND = b"Majjen\0", 1
IS_LIVING = 0x6D6A_2D6C_6976_696E  # Mixed with the address of an entry in the list of schedulers.
SELECT_TASK = 3
MOST_SCHEDULERS = 65536
PT_LOAD = 1
PAGE_BYTES = 4096
NO_TIMER = NEVER = (1 << 64) - 1


def read(address, layout):
    """The numbers at an address, as struct.unpack() does."""
    try:
        memory = gdb.selected_inferior().read_memory(address, struct.calcsize(layout))
    except gdb.MemoryError:
        raise gdb.GdbError("mj: the memory at %#x cannot be read" % address)
    return struct.unpack(layout, memory.tobytes())


def read_one(address, layout):
    return read(address, layout)[0]


def address_of(symbol):
    """Where a symbol of the library is; None if no object of the program has it."""
    try:
        return evaluate_in_c("&" + symbol)
    except gdb.error:
        return None


def evaluate_in_c(expression):
    # In a frame of the library the language is Rust.
    with gdb.with_parameter("language", "c"):
        return int(gdb.parse_and_eval(expression)) & NEVER


def evaluate(expression):
    """A number or an address, in the language of the selected frame, or in C."""
    try:
        return int(gdb.parse_and_eval(expression)) & NEVER
    except gdb.error:
        return evaluate_in_c(expression)


def printable(text):
    """A text of the program's, without what a terminal would obey, and without the end of a line or a
    quotation mark, which would look like the list's own."""
    return "".join(
        c if c.isprintable() and c != '"' else ascii(c)[1:-1].replace('"', '\\"') for c in text
    )


def address_of_table():
    """Where the library's table is, by the note that has it, or by its symbol; None if there is none."""
    sections = gdb.execute("info files", to_string=True)
    for begin, end in re.findall(r"(0x[0-9a-f]+) - (0x[0-9a-f]+) is \.note\.majjen\b", sections):
        begin, end = int(begin, 16), int(end, 16)
        notes = read_one(begin, "=%ds" % (end - begin))
        at = 0
        while at + 12 <= len(notes):
            name_bytes, bytes_, kind = struct.unpack_from("=III", notes, at)
            name = notes[at + 12 : at + 12 + name_bytes]
            at += 12 + (name_bytes + 3) // 4 * 4
            if name == NOTE_NAME and kind == NOTE_KIND:
                return begin + at
            at += (bytes_ + 3) // 4 * 4
    return address_of("majjen_debug_table")


class Layout:
    """The library's table."""

    def __init__(self):
        if gdb.selected_thread() is None:
            raise gdb.GdbError("mj: the program is not running, and there is no core file")
        address = address_of_table()
        if address is None:
            raise gdb.GdbError(
                "mj: there is no libmajjen here: for a core file give gdb the program, too"
            )
        self.address = address
        magic, version, count = read(address, "=8sII")
        if magic != b"majjen\0\0" or version != VERSION or count < len(FIELDS):
            raise gdb.GdbError(
                "mj: this libmajjen is not the one that the script was made for (table version %d,"
                " the script's is %d)" % (version, VERSION)
            )
        numbers = read(address + 16, "=%dI" % len(FIELDS))
        self.__dict__.update(zip(FIELDS, numbers))


class Task:
    """What is in a slot."""

    def __init__(self, layout, scheduler, index, address, slot):
        def field(name, kind, behind=0):
            return struct.unpack_from(kind, slot, getattr(layout, "task_" + name) + behind)[0]

        self.layout = layout
        self.index = index
        self.address = address
        self.alive = field("alive", "=B") != 0
        if not self.alive:
            return
        self.state = field("state", "=I")
        self.wake_time_ns = field("wake_time_ns", "=Q")
        self.has_timer = field("heap_index", "=Q") != NO_TIMER
        self.context = field("context", "=Q")
        self.queued = field("queued", "=B") != 0
        self.turns = field("turns", "=I")
        self.id = field("id", "=Q")
        self.name = field("name", "=%ds" % layout.name_bytes).split(b"\0")[0]
        self.group = field("group", "=Q")
        self.kind = field("wait", "=Q")
        self.object = field("wait", "=Q", behind=8)
        self.running = scheduler.current_task == address

    def __str__(self):
        return "#%d %s %s, %d turns" % (self.index, self.who(), self.doing(), self.turns)

    def who(self):
        name = printable(self.name.decode("utf-8", "backslashreplace"))
        return '0x%x "%s"' % (self.id, name)

    def doing(self):
        if self.running:
            return "running"
        if self.queued:
            return "ready"
        if self.kind != 0:
            doing = "waiting for " + self.what()
        elif self.state == SLEEPING and self.has_timer:
            doing = "sleeping"
        else:
            doing = "parked"
        if self.has_timer:
            doing += " for ever" if self.wake_time_ns == NEVER else " until %d ns" % self.wake_time_ns
        return doing

    def what(self):
        """What it waits for."""
        name, object_is = self.kind_of_wait()
        if object_is == OBJECT_IS_ADDRESS:
            return "%s 0x%x" % (name, self.object)
        if object_is == OBJECT_IS_DESCRIPTOR:
            return "%s %d" % (name, read_one(self.object + self.layout.node_fd, "=i"))
        if object_is == OBJECT_IS_TASK:
            return "%s 0x%x" % (name, read_one(self.object + self.layout.task_id, "=Q"))
        return name


    def kind_of_wait(self):
        """Its name, which it brings itself, and what the object is."""
        name, object_is = read(self.kind, "=QI")
        name = gdb.selected_inferior().read_memory(name, NAME_BYTES).tobytes().split(b"\0")[0]
        return name.decode("utf-8", "backslashreplace"), object_is

    def waits_for(self, scheduler):
        """The tasks that have to go on before it does; none if that is not known."""
        if self.running or self.queued or self.kind == 0:
            return []
        layout = self.layout
        name, object_is = self.kind_of_wait()
        if name == "mutex":
            return scheduler.with_id(read_one(self.object + layout.mutex_owner, "=Q"))
        if object_is == OBJECT_IS_TASK:
            return scheduler.with_id(read_one(self.object + layout.task_id, "=Q"))
        if name == "group":
            return [task for task in scheduler.tasks if task.group == self.object]
        if name == "select":
            case, count = read(self.object + layout.select_cases, "=QQ")
            if count == 1 and read_one(case + layout.case_operation, "=I") == SELECT_TASK:
                return scheduler.with_id(read_one(case + layout.case_task, "=Q"))
        return []


class Scheduler:
    """A scheduler in the program, and the tasks that are alive in it."""

    def __init__(self, layout, address):
        self.address = address
        self.current_task = read_one(address + layout.scheduler_current_task, "=Q")
        chunk = read_one(address + layout.scheduler_chunks_first, "=Q")
        self.tasks = []
        index = 0
        chunks = read_one(address + layout.scheduler_chunks_count, "=Q")
        for _ in range(self.checked(chunks)):
            memory = read_one(chunk + layout.chunk_memory, "=Q")
            slots = self.checked(read_one(chunk + layout.chunk_slots, "=Q"))
            size = layout.task_bytes
            contents = read_one(memory, "=%ds" % (slots * size))
            for at in range(0, slots * size, size):
                slot = contents[at : at + size]
                task = Task(layout, self, index, memory + at, slot)
                if task.alive:
                    self.tasks.append(task)
                index += 1
            chunk += layout.chunk_bytes

    def checked(self, count):
        """The library has no more chunks, nor slots in one: a wrong address shows in that."""
        if count > 8192:
            raise gdb.GdbError("mj: there is no scheduler at %#x" % self.address)
        return count

    def with_id(self, id_):
        return [task for task in self.tasks if task.id == id_]

    def find(self, number):
        for task in self.tasks:
            if number in (task.index, task.id):
                return task
        raise gdb.GdbError("mj: no living task has the number or id %s" % number)


def living_schedulers(layout):
    """The addresses of all schedulers, the oldest first, and the threads that run them, 0 for none."""
    distance = layout.living_head - (layout.living_head >> 31 << 32)  # It has a sign.
    link = layout.address + distance & NEVER
    found = []
    while len(found) < MOST_SCHEDULERS:
        entry = read_one(link, "=Q")
        if entry == 0:
            break
        if read_one(entry + layout.living_word, "=Q") != IS_LIVING ^ entry:
            raise gdb.GdbError("mj: the list of schedulers has been overwritten")
        thread = read_one(entry + layout.living_thread, "=i")
        found.insert(0, (entry - layout.scheduler_living & NEVER, thread))
        link = entry + layout.living_next
    return found


def thread_offset():
    """From the thread pointer to the library's thread-local variable; None if it cannot be told."""
    address = address_of("majjen_debug_thread")
    if address is None:
        return None
    instruction, operand = read(address, "=3si")
    if instruction == b"\x48\x8b\x05":  # mov rax, [rip + operand]
        return read_one(address + 7 + operand, "=q")
    if instruction == b"\x48\xc7\xc0":  # mov rax, operand: what the linker makes of it in a program
        return operand
    return None


def scheduler_of_selected_thread():
    """Its address; 0 when none runs there, None when that cannot be told."""
    variable = None
    offset = thread_offset()
    if offset is not None:
        # In a core file gdb does not know thread-local variables, but this register.
        try:
            thread_pointer = int(gdb.newest_frame().read_register("fs_base"))
            variable = (thread_pointer + offset) & NEVER
        except (gdb.error, ValueError):
            pass
    if variable is None:
        variable = address_of("majjen_thread")
    if variable is not None:
        return read_one(variable, "=Q")
    # Of a stripped program the list of schedulers says which thread runs which, by the kernel's number.
    thread = gdb.selected_thread().ptid[1]
    schedulers = living_schedulers(Layout())
    running = [scheduler for scheduler, its_thread in schedulers if its_thread == thread]
    if running:
        return running[-1]
    return None if any(its_thread for _, its_thread in schedulers) else 0


def thread_of(scheduler):
    """The thread that a scheduler runs on; None if there is none."""
    selected = gdb.selected_thread()
    try:
        for thread in gdb.selected_inferior().threads():
            thread.switch()
            if scheduler_of_selected_thread() == scheduler:
                return thread
    finally:
        selected.switch()
    return None


def find_scheduler(layout, expression):
    if expression:
        address = evaluate(expression)
        if address == 0:
            raise gdb.GdbError("mj: the scheduler is NULL")
        return Scheduler(layout, address)
    with KeptSelection():
        address = scheduler_of_selected_thread()
    if address is None:
        raise gdb.GdbError(
            "mj: gdb cannot tell what runs on this thread; give the scheduler's address"
        )
    if address == 0:
        raise gdb.GdbError(
            "mj: no scheduler runs on this thread; select another one, or give the scheduler's"
            " address"
        )
    return Scheduler(layout, address)


class KeptSelection:
    """Puts the selected thread and frame back."""

    def __enter__(self):
        self.thread = gdb.selected_thread()
        self.level = gdb.selected_frame().level()

    def __exit__(self, *_):
        self.thread.switch()
        gdb.invalidate_cached_frames()
        frame = gdb.newest_frame()
        for _ in range(self.level):
            frame = frame.older() or frame
        frame.select()


class FrameId:
    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


# For each architecture: the names of the stack pointer and the program counter; how large a saved
# context is, and where in it registers are. They are the drawings in src/engine/context/switch.
X86_64 = (
    "rsp",
    "rip",
    80,
    {"r15": 24, "r14": 32, "r13": 40, "r12": 48, "rbx": 56, "rbp": 64, "rip": 72},
)
AARCH64 = (
    "sp",
    "pc",
    192,
    dict([("x%d" % (19 + i), 8 * i) for i in range(12)], pc=88),
)


def frame_layout(architecture):
    name = architecture.name()
    if name.startswith("i386:x86-64"):
        return X86_64
    if name.startswith("aarch64"):
        return AARCH64
    raise gdb.GdbError("mj: the stack frames of %s are not known" % name)


class ParkedTaskUnwinder(gdb.unwinder.Unwinder):
    """While it is given a context, the newest frame seems to have been called by that context.

    Registers of a core file cannot be set, but gdb asks an unwinder for those of a frame's caller:
    so this one answers with what the task has saved, and gdb goes on from there by itself.
    """

    def __init__(self):
        super().__init__("majjen-parked-task")
        self.enabled = False

    def pretend(self, context):
        """Returns how many of the newest frames are not the task's."""
        gdb.invalidate_cached_frames()
        frame = gdb.newest_frame()
        self.sp, self.pc, self.frame_bytes, self.saved = frame_layout(frame.architecture())
        self.newest = [int(frame.read_register(name)) for name in (self.sp, self.pc)]
        self.context = context
        self.enabled = True
        gdb.invalidate_cached_frames()
        frame = gdb.newest_frame()
        while frame.type() == gdb.INLINE_FRAME:
            frame = frame.older()
        return frame.level() + 1

    def stop(self):
        self.enabled = False
        gdb.invalidate_cached_frames()

    def __call__(self, pending):
        # int() of a pointer is signed or not as its type is, so both sides come from the same type.
        if [int(pending.read_register(name)) for name in (self.sp, self.pc)] != self.newest:
            return None

        def register(name, number):
            kind = pending.read_register(name).type
            return gdb.Value(struct.pack("=Q", number), kind)

        # The stack address is below the task's frames, as that of a function which it calls is.
        identity = FrameId(register(self.sp, self.context), pending.read_register(self.pc))
        unwound = pending.create_unwind_info(identity)
        for name, offset in self.saved.items():
            number = read_one(self.context + offset, "=Q")
            unwound.add_saved_register(name, register(name, number))
        unwound.add_saved_register(self.sp, register(self.sp, self.context + self.frame_bytes))
        return unwound


UNWINDER = ParkedTaskUnwinder()
gdb.unwinder.register_unwinder(None, UNWINDER, replace=True)


def parked_backtrace(task):
    with KeptSelection():
        try:
            skipped = UNWINDER.pretend(task.context)
            # One line a frame, however wide the terminal is.
            text = gdb.execute("with width 0 -- backtrace", to_string=True)
        finally:
            UNWINDER.stop()
    lines = []
    for line in text.splitlines():
        numbered = re.match(r"#(\d+) +(.*)", line)
        if numbered:
            level = int(numbered.group(1)) - skipped
            line = "#%-3d%s" % (level, numbered.group(2))
            if level < 0:
                continue
        lines.append(line)
    return "\n".join(lines)


class Mj(gdb.Command):
    """Commands for Majjen's tasks: mj tasks, mj bt, mj graph, mj core."""

    def __init__(self):
        super().__init__("mj", gdb.COMMAND_STACK, prefix=True)


class MjTasks(gdb.Command):
    """List the tasks of a scheduler: mj tasks [EXPRESSION]

Without an expression, of the one that runs on the selected thread. A line has the number of the
task, its id, name, what it does or waits for (times are those of the scheduler's clock, in
nanoseconds), and how many turns it has had."""

    def __init__(self):
        super().__init__("mj tasks", gdb.COMMAND_STACK)

    def invoke(self, argument, _):
        layout = Layout()
        for task in find_scheduler(layout, argument).tasks:
            gdb.write("%s\n" % task)


class MjBt(gdb.Command):
    """Print the backtrace of a task: mj bt N [EXPRESSION]

N is the number that `mj tasks` prints, or the id. The expression is the scheduler; without it, the
one that runs on the selected thread."""

    def __init__(self):
        super().__init__("mj bt", gdb.COMMAND_STACK)

    def invoke(self, argument, _):
        words = argument.split(None, 1)
        if not words:
            raise gdb.GdbError("mj bt: which task? `mj tasks` lists them")
        layout = Layout()
        scheduler = find_scheduler(layout, words[1] if len(words) > 1 else "")
        task = scheduler.find(evaluate(words[0].lstrip("#")))
        gdb.write("%s\n" % task)
        if task.running:
            with KeptSelection():
                thread = thread_of(scheduler.address)
                if thread is not None:
                    thread.switch()
                gdb.execute("backtrace")
        elif task.context == 0:
            gdb.write("It has not had its first turn.\n")
        else:
            gdb.write("%s\n" % parked_backtrace(task))


def circles(edges):
    """The tasks that wait for each other, each for the next one, and the last for the first."""
    found, done = [], set()
    for start in edges:
        path, places = [], {}
        # The path, with those that are left of what each task waits for.
        stack = [(start, iter([start]))] if start not in done else []
        while stack:
            node = next(stack[-1][1], None)
            if node is None:
                stack.pop()
                if path:
                    left = path.pop()
                    del places[left]
                    done.add(left)
            elif node in places:
                circle = path[places[node] :]
                if not any(set(circle) & set(other) for other in found):
                    first = circle.index(min(circle))
                    found.append(circle[first:] + circle[:first])
            elif node not in done:
                places[node] = len(path)
                path.append(node)
                stack.append((node, iter(edges.get(node, ()))))
    return found


class MjGraph(gdb.Command):
    """Show which tasks wait for which: mj graph [EXPRESSION]

Those that wait in a circle come first: a deadlock, unless one of them has a limit. The expression
is the scheduler; without it, all are looked at."""

    def __init__(self):
        super().__init__("mj graph", gdb.COMMAND_STACK)

    def invoke(self, argument, _):
        layout = Layout()
        if argument:
            schedulers = [find_scheduler(layout, argument)]
        else:
            schedulers = [Scheduler(layout, at) for at, _ in living_schedulers(layout)]
        waiting = 0
        for scheduler in schedulers:
            tasks = {task.index: task for task in scheduler.tasks}
            edges = {
                task.index: [other.index for other in task.waits_for(scheduler)]
                for task in scheduler.tasks
            }
            in_circles = set()
            for circle in circles(edges):
                in_circles.update(circle)
                limited = any(tasks[at].has_timer for at in circle)
                title = "circle, which a limit ends" if limited else "deadlock"
                gdb.write("%s: %d tasks wait for each other\n" % (title, len(circle)))
                for at, next_ in zip(circle, circle[1:] + circle[:1]):
                    self.write_edge(tasks[at], [tasks[next_]])
            waiting += len(in_circles)
            for at, others in edges.items():
                if others and at not in in_circles:
                    waiting += 1
                    self.write_edge(tasks[at], [tasks[other] for other in others])
        if waiting == 0:
            gdb.write("No task is known to wait for another one.\n")

    def write_edge(self, task, others):
        most = 4
        text = " and ".join(
            "#%d%s" % (other.index, " " + other.who()) for other in others[:most]
        )
        if len(others) > most:
            text += " and %d more" % (len(others) - most)
        gdb.write("  #%d %s waits for %s: %s\n" % (task.index, task.who(), task.what(), text))


def stack_pointers(layout):
    """Where the stacks of all threads, and of the tasks of their schedulers, are in use from."""
    pointers = []
    with KeptSelection():
        for thread in gdb.selected_inferior().threads():
            thread.switch()
            frame = gdb.newest_frame()
            name = frame_layout(frame.architecture())[0]
            pointers.append(int(frame.read_register(name)) & NEVER)
            address = scheduler_of_selected_thread()
            if address:
                pointers += [task.context for task in Scheduler(layout, address).tasks]
    return [pointer for pointer in pointers if pointer != 0]


def add_stacks(core, pointers):
    """Writes stacks to a core file: from each pointer to where memory cannot be read."""
    head = core.read(64)
    (table,) = struct.unpack_from("=Q", head, 32)
    size, count = struct.unpack_from("=HH", head, 54)
    core.seek(table)
    headers = [struct.unpack("=IIQQQQQQ", core.read(size)[:56]) for _ in range(count)]
    inferior = gdb.selected_inferior()
    for pointer in pointers:
        for kind, _, offset, start, _, in_file, _, _ in headers:
            if kind != PT_LOAD or not start <= pointer < start + in_file:
                continue
            page = pointer // PAGE_BYTES * PAGE_BYTES
            while page < start + in_file:
                try:
                    memory = inferior.read_memory(page, PAGE_BYTES)
                except gdb.MemoryError:
                    break  # The guard of the next stack.
                core.seek(offset + page - start)
                core.write(memory.tobytes())
                page += PAGE_BYTES


class MjCore(gdb.Command):
    """Write a core file with the tasks' stacks: mj core FILE

generate-core-file gives up a mapping at the first page that it cannot read. Where the kernel has
guard pages without mappings of their own (Linux 6.13), that is the guard of the first stack, and
the stacks are missing. This command adds them: of all threads, and of the tasks of the schedulers
that run there. A core file that the kernel writes is complete anyway."""

    def __init__(self):
        super().__init__("mj core", gdb.COMMAND_STACK, gdb.COMPLETE_FILENAME)

    def invoke(self, argument, _):
        if not argument:
            raise gdb.GdbError("mj core: which file?")
        pointers = stack_pointers(Layout())
        # To a string, since its warnings are about what is mended below.
        gdb.execute("generate-core-file " + argument, to_string=True)
        with open(argument, "r+b") as core:
            add_stacks(core, pointers)
        gdb.write("Saved corefile %s\n" % argument)


Mj()
MjTasks()
MjBt()
MjGraph()
MjCore()
