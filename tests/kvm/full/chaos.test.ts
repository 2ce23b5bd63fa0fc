// nested-host: minutes=25
// nested-host: always
import { chosenSeed, describeChaos } from "../chaos-suite.ts";

describeChaos({ kills: 100, longestMs: 1_500_000, seed: chosenSeed() });
