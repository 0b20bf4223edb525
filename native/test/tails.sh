#!/bin/sh
# Handlers must leave by jumps: one that calls the next operation grows the host stack by a frame per executed instruction, which no
# functional test notices. Looks for such calls in the object files given.
for object; do
  objdump -dr --no-show-raw-insn -C "$object" | awk -v object="$object" '
    /^[0-9a-f]+ </ { name = $0; sub(/^[0-9a-f]+ /, "", name) }
    /call +\*0x[0-9a-f]+\(/ && name !~ /run_slow<|(find|link)_block/ { print object ": " name " calls the next operation"; bad = 1 }
    /call / { calling = NR }
    /R_X86_64_(PLT32|PC32).*::(leave|leave_fault|leave_after|slow_read|slow_write|slow_modify|resolve_exit|resolve_indirect|raise_vector|unit_off|retry_with_unit)[<(]/ && NR == calling + 1 {
      print object ": " name " calls " $NF; bad = 1 }
    END { exit bad }' || status=1
done
exit ${status:-0}
