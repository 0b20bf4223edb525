# Tests of the interrupt and timer chips and of the floating-point thunks: make -f native/test/a3.mk check
CXX ?= g++
CXXFLAGS = -std=c++20 -O2 -Wall -Wextra -Werror -Inative -MMD -MP $(EXTRA)
OUT = build/native-test/a3
IRQCHIP = irqchip lapic lapic_timer lapic_access ioapic i8259 i8254
FPU = fpu fpu_table thunk_emit code_arena
TESTS = irqchip_test fpu_test

check: $(TESTS:%=$(OUT)/%)
	for t in $^; do $$t || exit 1; done

$(OUT)/irqchip_test: $(patsubst %,$(OUT)/test/%.o,irqchip_test i8254_test irqchip_property_test) $(IRQCHIP:%=$(OUT)/soft/%.o)
$(OUT)/fpu_test: $(patsubst %,$(OUT)/test/%.o,fpu_test fpu_reference) $(FPU:%=$(OUT)/soft/%.o)
$(TESTS:%=$(OUT)/%):
	$(CXX) $(EXTRA) -o $@ $^ -lpthread

$(OUT)/%.o: native/%.cc
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -c -o $@ $<

-include $(wildcard $(OUT)/*/*.d)
.PHONY: check
