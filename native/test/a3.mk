# Tests of the interrupt and timer chips and of the floating-point thunks: make -f native/test/a3.mk check
CXX ?= g++
CXXFLAGS = -std=c++20 -O2 -Wall -Wextra -Werror -Inative -MMD -MP $(EXTRA)
OUT = build/native-test/a3
IRQCHIP = irqchip lapic lapic_timer lapic_access ioapic i8259 i8254

check: $(OUT)/irqchip_test
	$(OUT)/irqchip_test

$(OUT)/irqchip_test: $(OUT)/test/irqchip_test.o $(OUT)/test/irqchip_property_test.o $(IRQCHIP:%=$(OUT)/soft/%.o)
	$(CXX) $(EXTRA) -o $@ $^ -lpthread

$(OUT)/%.o: native/%.cc
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -c -o $@ $<

-include $(wildcard $(OUT)/*/*.d)
.PHONY: check
