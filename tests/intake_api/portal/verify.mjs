// Checks what stands on standard input, a JSON list of [document, keys], with the page's own module; prints a list of
// "good" or the fault found.
import { readFileSync } from 'node:fs'
import { Wrong, check, checkGrown, read, unkept } from '../../../intake_api/portal/assets/verify.js'

const faults = []
for (const { text, keys, before, now, hashes } of JSON.parse(readFileSync(0, 'utf8'))) {
  try {
    if (before) await checkGrown(unkept(before), unkept(now), hashes)
    else await check(read(text, 'document'), keys)
    faults.push('good')
  } catch (error) {
    faults.push(error instanceof Wrong ? error.fault : `crashed: ${error}`)
  }
}
console.log(JSON.stringify(faults))
