// Go: goroutines, on one processor (GOMAXPROCS=1). See ../contender.h for what a contender is.
package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

func clockNs(clock uintptr) uint64 {
	var now syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&now)), 0)
	return uint64(now.Sec)*1e9 + uint64(now.Nsec)
}

func cpuNs() uint64 { return clockNs(2) } // CLOCK_PROCESS_CPUTIME_ID

var start = time.Now()

func wallNs() uint64 { return uint64(time.Since(start)) }

func argument(name string) uint64 {
	for _, text := range os.Args[2:] {
		if strings.HasPrefix(text, name+"=") {
			value, err := strconv.ParseUint(text[len(name)+1:], 10, 64)
			if err == nil {
				return value
			}
		}
	}
	panic(name + "=number is missing")
}

func report(name string, value float64) { fmt.Printf("%s=%.17g\n", name, value) }

func nextRandom(state *uint64) uint64 {
	*state ^= *state >> 12
	*state ^= *state << 25
	*state ^= *state >> 27
	return *state * 0x2545F4914F6CDD1D
}

func randomDelays(count, leastNs, spreadNs uint64) []uint64 {
	delays := make([]uint64, count)
	state := uint64(88172645463325252)
	for i := range delays {
		delays[i] = leastNs + nextRandom(&state)%spreadNs
	}
	return delays
}

func residentBytes() (uint64, uint64) {
	statm, _ := os.ReadFile("/proc/self/statm")
	pages, _ := strconv.ParseUint(strings.Fields(string(statm))[1], 10, 64)
	status, _ := os.ReadFile("/proc/self/status")
	var tables uint64
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "VmPTE:") {
			tables, _ = strconv.ParseUint(strings.Fields(line)[1], 10, 64)
		}
	}
	return pages * uint64(os.Getpagesize()), tables * 1024
}

// ---- row 1

var ring struct {
	rounds, started, ended, yields, last, alone      uint64
	beginYields, beginNs, endYields, endNs, bodyUses uint64
}

// One function for each type, since their sizes differ; so each has a call of its own.
//
//go:noinline
func takeTurns[Body any](body uint64) {
	var padding Body
	me := ring.started
	ring.started++
	runtime.Gosched()
	if me == 0 {
		ring.beginYields, ring.beginNs = ring.yields, cpuNs()
	}
	for i := uint64(0); i < ring.rounds; i++ {
		if ring.last == me {
			ring.alone++
		}
		ring.last = me
		ring.yields++
		runtime.Gosched()
	}
	if me == 0 {
		ring.endNs, ring.endYields = cpuNs(), ring.yields
	}
	ring.bodyUses |= 1 << body
	ring.ended++
	runtime.KeepAlive(&padding)
}

func testYield() {
	tasks, bodies := argument("tasks"), argument("bodies")
	ring.rounds = argument("rounds")
	ring.last = ^uint64(0)
	functions := [16]func(uint64){
		takeTurns[[1]byte], takeTurns[[2]byte], takeTurns[[3]byte], takeTurns[[4]byte],
		takeTurns[[5]byte], takeTurns[[6]byte], takeTurns[[7]byte], takeTurns[[8]byte],
		takeTurns[[9]byte], takeTurns[[10]byte], takeTurns[[11]byte], takeTurns[[12]byte],
		takeTurns[[13]byte], takeTurns[[14]byte], takeTurns[[15]byte], takeTurns[[16]byte],
	}
	for i := uint64(0); i < tasks; i++ {
		go functions[i%bodies](i % bodies)
	}
	for ring.ended < tasks {
		time.Sleep(time.Millisecond)
	}
	used := uint64(0)
	for body := 0; body < 16; body++ {
		used += ring.bodyUses >> body & 1
	}
	if used != bodies && used != tasks {
		panic("not all bodies were used")
	}
	report("work", float64(ring.yields))
	report("alone", float64(ring.alone))
	report("ns", float64(ring.endNs-ring.beginNs)/float64(ring.endYields-ring.beginYields))
}

// ---- row 2

func testSpawn() {
	const batchSize = 100
	batches := argument("count") / batchSize
	var ended, took uint64
	for _, batches := range []uint64{1, batches} {
		ended = 0
		began := cpuNs()
		for batch := uint64(1); batch <= batches; batch++ {
			for i := 0; i < batchSize; i++ {
				go func() { ended++ }()
			}
			for ended < batch*batchSize {
				runtime.Gosched()
			}
		}
		took = cpuNs() - began
	}
	report("work", float64(ended))
	report("ns", float64(took)/float64(ended))
}

// ---- row 3. A sleep cannot be ended early. Goroutines do not all go to sleep before others have started, so that
// phase is part of the whole, and not measured alone.

func testTimers() {
	// The only thing that keeps others from running while the thread is blocked.
	const oneAtATime = "GODEBUG=asyncpreemptoff=1"
	if os.Getenv("GODEBUG") == "" {
		syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), oneAtATime))
	}
	count, rounds := argument("count"), argument("rounds")
	leastNs, spreadNs := argument("least_ns"), argument("spread_ns")
	if argument("cancel") != 0 {
		panic("sleeps cannot be ended early")
	}
	delays := randomDelays(count, leastNs, spreadNs)
	var create, wake, end float64
	var work uint64
	for round := uint64(0); round < rounds; round++ {
		var asleep, woken, ended uint64
		beganWall, began := wallNs(), cpuNs()
		for i := uint64(0); i < count; i++ {
			delay := time.Duration(delays[i])
			go func() {
				runtime.Gosched()
				runtime.Gosched()
				asleep++
				time.Sleep(delay)
				woken++
				runtime.Gosched()
				ended++
			}()
		}
		until := func(counter *uint64) uint64 {
			for *counter < count {
				runtime.Gosched()
			}
			return cpuNs()
		}
		until(&asleep)
		if woken > 0 || wallNs()-beganWall >= leastNs {
			panic("too slow")
		}
		block := syscall.NsecToTimespec(int64(leastNs + spreadNs + 2000000))
		// Blocked, the thread uses no processor time: what is used from here on is used for waking.
		due := cpuNs()
		syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&block)), 0, 0)
		awake := until(&woken)
		hasEnded := until(&ended)
		work += ended
		create += float64(due - began)
		wake += float64(awake - due)
		end += float64(hasEnded - awake)
	}
	each := float64(count * rounds)
	report("work", float64(work))
	report("expire_ns", wake/each)
	report("end_ns", end/each)
	report("whole_ns", (create+wake+end)/each)
}

// ---- row 4

func sleepLengthNs(index uint64) uint64 {
	state := 0x9E3779B97F4A7C15 + index
	nextRandom(&state)
	power := float64(nextRandom(&state)>>11) / 9007199254740992.0 * 8.643856189774724
	length := 50e3
	for ; power >= 1; power-- {
		length *= 2
	}
	return uint64(length * (1 + power))
}

func testLateness() {
	count := argument("count")
	done := false
	if argument("busy") != 0 {
		go func() {
			for !done {
				runtime.Gosched()
			}
		}()
	}
	lateness := make([]int64, count)
	for i := range lateness {
		length := sleepLengthNs(uint64(i))
		began := wallNs()
		time.Sleep(time.Duration(length))
		lateness[i] = int64(wallNs() - began - length)
	}
	done = true
	sort.Slice(lateness, func(i, j int) bool { return lateness[i] < lateness[j] })
	report("work", float64(count))
	report("min_ns", float64(lateness[0]))
	report("p50_ns", float64(lateness[count/2]))
	report("p99_ns", float64(lateness[count*99/100]))
	report("max_ns", float64(lateness[count-1]))
}

// ---- row 5

func testParked() {
	count := argument("count")
	var started uint64
	memoryBefore, tablesBefore := residentBytes()
	began := cpuNs()
	for i := uint64(0); i < count; i++ {
		go func() {
			started++
			time.Sleep(time.Hour)
		}()
	}
	for started < count {
		runtime.Gosched()
	}
	took := cpuNs() - began
	memory, tables := residentBytes()
	report("work", float64(started))
	report("ns", float64(took)/float64(count))
	report("bytes", (float64(memory)-float64(memoryBefore))/float64(count))
	report("page_table_bytes", (float64(tables)-float64(tablesBefore))/float64(count))
	os.Exit(0)
}

// ---- rows 6 to 8

const response = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!"

const (
	serveOnce = iota
	serveKept
	serveEcho
)

var stamp string
var stampOf int64

func logAccepted(fd uintptr) {
	now := time.Now()
	if second := now.Unix(); second != stampOf {
		stamp, stampOf = now.Format("2006-01-02 15:04:05"), second
	}
	fmt.Fprintf(os.Stdout, "[%s] [INFO] New connection accepted on fd %d\n", stamp, fd)
}

func serveConnection(connection net.Conn, kind uint64) {
	defer connection.Close()
	buffer := make([]byte, 4096)
	length := 0
	for {
		n, err := connection.Read(buffer[length:])
		if n == 0 || err != nil {
			return
		}
		_ = time.Now().Unix()
		if kind == serveEcho {
			if _, err := connection.Write(buffer[:n]); err != nil {
				return
			}
			continue
		}
		length += n
		if !bytes.Contains(buffer[:length], []byte("\r\n\r\n")) {
			continue
		}
		length = 0
		if _, err := connection.Write([]byte(response)); err != nil || kind == serveOnce {
			return
		}
	}
}

func testServe() {
	kind, log := argument("kind"), argument("log")
	listener, err := net.Listen("tcp4", ":8080")
	if err != nil {
		panic(err)
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		if log != 0 {
			raw, _ := connection.(*net.TCPConn).SyscallConn()
			raw.Control(logAccepted)
		}
		go serveConnection(connection, kind)
	}
}

func main() {
	runtime.GOMAXPROCS(1)
	tests := map[string]func(){
		"yield": testYield, "spawn": testSpawn, "timers": testTimers, "lateness": testLateness,
		"parked": testParked, "serve": testServe,
		"version": func() { fmt.Printf("version=%s\n", strings.TrimPrefix(runtime.Version(), "go")) },
	}
	if len(os.Args) < 2 || tests[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: go TEST name=number...")
		os.Exit(2)
	}
	tests[os.Args[1]]()
}
