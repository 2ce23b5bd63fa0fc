import { expect, it } from "vitest";
import { vcpuOf } from "./vcpu-threads.ts";

it.each([
  ["fc_vcpu 0", 0],
  ["fc_vcpu 31", 31],
  ["CPU 3/KVM", 3],
  ["CPU 0/TCG", 0],
  ["ALL CPUs/TCG", undefined],
  ["fc_vcpu", undefined],
  ["fc_vcpu 0 ", undefined],
  ["fc_vcpu -1", undefined],
  ["fc_vcpu 9999", undefined],
  ["x fc_vcpu 0", undefined],
  ["fc_api", undefined],
  ["CPU 0/../../x", undefined],
  ["", undefined],
])("a thread that calls itself '%s' runs virtual CPU %s", (name, number) => expect(vcpuOf(name)).toBe(number));
