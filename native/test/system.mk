# Tests of the system half of the software CPU, on a stand-in for the engine and then on the engine: make -f native/test/system.mk check
# (with EXTRA=-fsanitize=...: into another OUT)
CXX ?= g++
CXXFLAGS = -std=c++20 -O1 -g -Wall -Wextra -Werror -Inative -MMD -MP $(EXTRA)
OUT = build/native-test/system
SYSTEM = system deliver segment far control syscall eflags io msr fxsave cpuid kvmclock state check
IRQCHIP = irqchip lapic lapic_timer lapic_access ioapic i8259 i8254
TESTS = system_test deliver_test state_test plain_doors
OBJECTS = $(TESTS:%=$(OUT)/test/%.o) $(SYSTEM:%=$(OUT)/soft/%.o) $(IRQCHIP:%=$(OUT)/soft/%.o) $(OUT)/memory/ram.o $(OUT)/memory/hash.o

check: $(OUT)/system_test
	$(OUT)/system_test
	$(MAKE) -s -C native/test TESTS=guest_system_test check

$(OUT)/system_test: $(OBJECTS)
	$(CXX) $(EXTRA) -o $@ $^ -lpthread

$(OUT)/%.o: native/%.cc
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -c -o $@ $<

-include $(wildcard $(OUT)/*/*.d)
.PHONY: check
