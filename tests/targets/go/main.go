// SPDX-License-Identifier: MIT

// A program of Go that obeys lines and answers each with one: functions of every shape that a hook can meet, called an
// exact number of times, amid everything that Go's runtime does to stacks and threads meanwhile.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func bottom()
func flagged()
func beneath() int
func registers(carry uint64) (wrong uint64)

// No frame, and nothing that asks for stack.
//
//go:noinline
func leaf(a, b int) int { return a*3 + b }

// Asks for stack, which grows again and again on a goroutine that is new.
//
//go:noinline
func deep(n int) int {
	var pad [64]int

	pad[n&63] = n
	if n == 0 {
		return leaf(1, 2)
	}
	return deep(n-1) + pad[n&63] - n
}

// Does without asking.
//
//go:noinline
//go:nosplit
func frugal(a, b int) int {
	var pad [8]int

	pad[a&7] = b
	return pad[b&7] + a
}

// Several ways out, one of them behind a panic that it has recovered from.
//
//go:noinline
func recovers(n int) (out int) {
	defer func() {
		if recover() != nil {
			out = -1
		}
	}()
	if n&1 == 0 {
		return n
	}
	return thing(nil).get()
}

type things struct{ pad, value int }

func thing(t *things) *things { return t }

// Its first instruction may fault.
//
//go:noinline
func (t *things) get() int { return t.value }

// Runs for long without a call: it is stopped by a signal, in its middle.
//
//go:noinline
func spins(n int) int {
	x := uint32(n)
	for i := 0; i < n; i++ {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
	}
	return leaf(int(x&1), 0)
}

// The same for longer, and with a result that tells of every instruction.
//
//go:noinline
func loops(n int) uint32 {
	x := uint32(n)
	for i := 0; i < n; i++ {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
	}
	return x
}

//go:noinline
func many(a, b, c, d, e, f, g, h, i int, s string, x, y float64) (int, string, float64) {
	return a + b*2 + c*3 + d*4 + e*5 + f*6 + g*7 + h*8 + i*9, s, x * y
}

//go:noinline
func generic[T int | float64](a T) T { return a + a }

// All of them, `n` times.
func calls(n int) {
	for i := 0; i < n; i++ {
		if leaf(i, 1) != i*3+1 || frugal(1, 1) != 2 {
			panic("wrong result")
		}
		if got := recovers(i); got != i && got != -1 {
			panic("wrong recovery")
		}
		if a, s, x := many(1, 2, 3, 4, 5, 6, 7, 8, i, "text", 1.5, 2); a != 204+9*i || s != "text" || x != 3 {
			panic("wrong values")
		}
		if generic(i) != 2*i {
			panic("wrong generic")
		}
		spins(200)
		if beneath() != 0 {
			panic("bytes beneath the stack have changed")
		}
	}
}

func grows(n, depth int) {
	for i := 0; i < n; i++ {
		done := make(chan int)
		go func() { done <- deep(depth) }()
		if <-done != 5 {
			panic("wrong depth")
		}
	}
}

// In so many goroutines at once.
func crowd(n int, f func()) {
	var wait sync.WaitGroup

	for i := 0; i < n; i++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			f()
		}()
	}
	wait.Wait()
}

var busy, served int64
var ended = make(chan int64)

// Collections, stops of all goroutines, and signals, until `busy` is 0.
func turmoil() {
	for i := 0; i < 2; i++ {
		go func() {
			for n := 0; atomic.LoadInt64(&busy) != 0; n++ {
				garbage := make([][]byte, 100)
				for k := range garbage {
					garbage[k] = make([]byte, 1000)
				}
				runtime.GC()
				if n%16 == 0 {
					buf := make([]byte, 1<<16)
					runtime.Stack(buf, true)
				}
				time.Sleep(time.Millisecond)
			}
		}()
		go func() {
			for n := 1; atomic.LoadInt64(&busy) != 0; { // stopped by signals only
				for i := 0; i < 3000000; i++ {
					n ^= n << 1
				}
			}
		}()
	}
}

func handler(w http.ResponseWriter, r *http.Request) {
	atomic.AddInt64(&served, 1)
	fmt.Fprintf(w, "%d\n", leaf(2, 3))
}

func serve() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err.Error()
	}
	http.HandleFunc("/", handler)
	go http.Serve(listener, nil)
	return listener.Addr().String()
}

func load(address string, requests int) int {
	var good int64

	crowd(8, func() {
		client := &http.Client{Transport: &http.Transport{}}
		for i := 0; i < requests; i++ {
			answer, err := client.Get("http://" + address + "/")
			if err != nil {
				continue
			}
			text, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			if string(text) == "9\n" {
				atomic.AddInt64(&good, 1)
			}
		}
		client.CloseIdleConnections()
	})
	return int(good)
}

//go:noinline
func outer() string { return inner() }

//go:noinline
func inner() string {
	var names []string
	pcs := make([]uintptr, 16)

	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for more := true; more; {
		var frame runtime.Frame

		frame, more = frames.Next()
		names = append(names, fmt.Sprintf("%s:%d", frame.Function, frame.Line))
	}
	return strings.Join(names, " ")
}

func profiled() string {
	var out bytes.Buffer

	if err := pprof.StartCPUProfile(&out); err != nil {
		return err.Error()
	}
	crowd(4, func() { calls(20000) })
	pprof.StopCPUProfile()
	return strconv.Itoa(out.Len())
}

func obey(words []string) string {
	number := func(i int) int {
		n, err := strconv.Atoi(words[i])
		if err != nil {
			panic(err)
		}
		return n
	}
	switch words[0] {
	case "calls": // goroutines, rounds
		crowd(number(1), func() { calls(number(2)) })
	case "grows": // goroutines, rounds, depth
		crowd(number(1), func() { grows(number(2), number(3)) })
	case "turmoil":
		atomic.StoreInt64(&busy, int64(number(1)))
		if number(1) != 0 {
			turmoil()
		}
	case "loops": // so many goroutines, until the next line
		atomic.StoreInt64(&busy, 1)
		right, wrong := loops(30000000), int64(0)
		for i := 0; i < number(1); i++ {
			go func() {
				for atomic.LoadInt64(&busy) != 0 {
					if loops(30000000) != right {
						atomic.AddInt64(&wrong, 1)
					}
				}
				ended <- atomic.LoadInt64(&wrong)
			}()
		}
	case "looped":
		atomic.StoreInt64(&busy, 0)
		worst := int64(0)
		for i := 0; i < number(1); i++ {
			if wrong := <-ended; wrong > worst {
				worst = wrong
			}
		}
		return strconv.FormatInt(worst, 10)
	case "registers":
		return fmt.Sprintf("%#x %#x %#x", registers(0), registers(1), registers(2))
	case "serve":
		return serve()
	case "load": // address, requests of each
		return strconv.Itoa(load(words[1], number(2)))
	case "served":
		return strconv.FormatInt(atomic.LoadInt64(&served), 10)
	case "trace":
		return outer()
	case "profile":
		return profiled()
	case "getpid": // so many times, by a system call of its own
		for i := 0; i < number(1); i++ {
			syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0)
		}
	case "run":
		out, err := syscall.ForkExec("/bin/true", []string{"true"}, nil)
		if err != nil {
			return err.Error()
		}
		syscall.Wait4(out, nil, 0, nil)
	case "threads":
		debug.SetMaxThreads(5000)
		crowd(number(1), func() {
			runtime.LockOSThread()
			time.Sleep(time.Millisecond)
			leaf(1, 1)
		})
	}
	return "done"
}

func main() {
	if len(os.Args) > 1 {
		obey(os.Args[1:])
		if os.Args[len(os.Args)-1] == "linger" {
			time.Sleep(time.Minute)
		}
		return
	}
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		fmt.Println(obey(strings.Fields(input.Text())))
	}
}
