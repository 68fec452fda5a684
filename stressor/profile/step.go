package profile

// Op is the kind of a step.
type Op string

// The steps a stressor knows. [Steps] says what each of them does.
const (
	Touch     Op = "touch"
	File      Op = "file"
	Write     Op = "write"
	Shmem     Op = "shmem"
	Tmpfs     Op = "tmpfs"
	Mlock     Op = "mlock"
	HugePages Op = "hugepages"
	HugeTLB   Op = "hugetlb"
	Tables    Op = "pagetables"
	Map       Op = "map"
	SwapOut   Op = "swapout"
	Free      Op = "free"
	Leak      Op = "leak"
	Sawtooth  Op = "sawtooth"
	Fork      Op = "fork"
	Wait      Op = "wait"
	Sleep     Op = "sleep"
	Exit      Op = "exit"
	Hold      Op = "hold"
)

// Kind is what an amount or a qualifier of a step is, and the key it goes by.
type Kind string

// The kinds of values.
const (
	None     Kind = ""
	Size     Kind = "size"
	Rate     Kind = "rate" // of a size, a second
	Name     Kind = "name" // of a child
	Duration Kind = "duration"
	Code     Kind = "code"    // an exit status
	Content  Kind = "content" // of the pages, see Contents
	Path     Kind = "path"    // of a file; for use by hand, scenarios have no files of their own
)

// Memory is how the kernel accounts for the memory of a step.
type Memory uint8

// The kinds of memory. From AnonMemory on all but HugePool are charged to the process's
// cgroup.
const (
	NoMemory     Memory = iota
	AddressSpace        // the step takes no page: it counts for overcommit alone
	HeldMemory          // the step takes none; its amount is at most what is held
	AnonMemory          // anonymous pages: only swap takes them back
	TableMemory         // page tables: nothing takes them back
	SharedMemory        // pages of a memfd: only swap takes them back, or the end of the process
	TmpfsFile           // pages of a file in a tmpfs: only swap takes them back, or who deletes the file
	PageCache           // pages of a file: reclaim drops them or writes them back
	HugePool            // explicit huge pages, reserved before and charged to no memory cgroup
)

// A Row says all there is to know about a step without carrying it out.
type Row struct {
	Op         Op
	Amount     Kind   // what stands behind the step's name
	Qualifiers []Kind // what else it may be given
	// Required: a scenario has to give the qualifiers.
	Required bool
	Memory   Memory
	Endless  bool // it goes on until the process ends
	Last     bool // no step can come after it
	Help     string
}

// Steps is the table of all steps, in the order in which help shows them.
var Steps = []Row{
	{Op: Touch, Amount: Size, Qualifiers: []Kind{Rate, Content}, Memory: AnonMemory,
		Help: "takes anonymous memory in small pages"},
	{Op: File, Amount: Size, Qualifiers: []Kind{Rate, Path}, Memory: PageCache,
		Help: "reads a file of that size into the page cache"},
	{Op: Write, Amount: Size, Qualifiers: []Kind{Rate, Path}, Memory: PageCache,
		Help: "writes a file of that size: dirty page cache"},
	{Op: Shmem, Amount: Size, Qualifiers: []Kind{Rate}, Memory: SharedMemory,
		Help: "takes shared memory: a memfd"},
	{Op: Tmpfs, Amount: Size, Qualifiers: []Kind{Rate, Path}, Memory: TmpfsFile,
		Help: "writes a file in a tmpfs, which is there when its writer is gone"},
	{Op: Mlock, Amount: Size, Qualifiers: []Kind{Rate}, Memory: AnonMemory,
		Help: "takes anonymous memory and locks it"},
	{Op: HugePages, Amount: Size, Qualifiers: []Kind{Rate}, Memory: AnonMemory,
		Help: "takes anonymous memory with transparent huge pages"},
	{Op: HugeTLB, Amount: Size, Qualifiers: []Kind{Rate}, Memory: HugePool,
		Help: "takes memory from the pool of explicit huge pages"},
	{Op: Tables, Amount: Size, Qualifiers: []Kind{Rate}, Memory: TableMemory,
		Help: "takes page tables: reads a byte of each 2Mi that it maps, which takes no page"},
	{Op: Map, Amount: Size, Memory: AddressSpace,
		Help: "maps that much at once and touches none of it"},
	{Op: SwapOut, Amount: Size, Memory: HeldMemory,
		Help: "pushes that much of what it holds out to swap"},
	{Op: Free, Amount: Size, Memory: HeldMemory,
		Help: "gives that much back, last taken first"},
	{Op: Leak, Amount: Rate, Memory: AnonMemory, Endless: true, Last: true,
		Help: "takes anonymous memory at that rate, without end"},
	{Op: Sawtooth, Amount: Size, Qualifiers: []Kind{Rate}, Required: true,
		Memory: AnonMemory, Endless: true, Last: true,
		Help: "takes that much and gives it back, again and again"},
	{Op: Fork, Amount: Name,
		Help: "starts the process of that name, whose parent this is"},
	{Op: Wait, Amount: Name,
		Help: "waits until the forked process of that name has ended"},
	{Op: Sleep, Amount: Duration,
		Help: "does nothing for that long"},
	{Op: Exit, Amount: Code, Last: true,
		Help: "ends with that code"},
	{Op: Hold, Last: true,
		Help: "keeps everything and is ready, until the run is over"},
}

// Row is the step's entry in [Steps]; the zero Row if it has none.
func (o Op) Row() Row {
	for i := range Steps {
		if Steps[i].Op == o {
			return Steps[i]
		}
	}
	return Row{}
}

// Takes reports whether the step takes memory, of whatever kind.
func (r Row) Takes() bool { return r.Memory > HeldMemory }

// Committed reports whether the step maps private memory that can be written, all of which
// counts for overcommit before any of it is touched (accountable_mapping() in mm/mmap.c).
func (r Row) Committed() bool { return r.Memory == AnonMemory || r.Memory == AddressSpace }

// Charged reports whether the step takes memory that counts against the limits
// of its cgroup and that reclaim cannot take back without swap.
func (r Row) Charged() bool {
	return r.Memory == AnonMemory || r.Memory == TableMemory || r.InTmpfs()
}

// InTmpfs reports whether the step's pages are those of a tmpfs, which the kernel counts
// as shared memory and swaps out of reach of all counters of the process.
func (r Row) InTmpfs() bool { return r.Memory == SharedMemory || r.Memory == TmpfsFile }

// Outlives reports whether what the step takes is there when the process has ended.
func (r Row) Outlives() bool { return r.Memory == TmpfsFile }

// Unbounded reports whether the step takes more and more memory.
func (r Row) Unbounded() bool { return r.Endless && r.Amount == Rate }

// What pages may hold: bytes that do not compress; nothing but zeros; and words, which
// compress to about half.
const (
	Random = "random"
	Zeros  = "zeros"
	Text   = "text"
)

// Contents are all of them.
var Contents = []string{Random, Zeros, Text}
