// The portal's only script. Pages work without it: it adds the viewer's own zone to moments, and counts down.
// @ts-check

/** @param {Date} at @returns {string} the moment in the viewer's zone, without seconds */
function here(at) {
  return new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' }).format(at)
}

/** @param {number} seconds @returns {string} in its two largest units */
function span(seconds) {
  const whole = Math.max(Math.floor(seconds), 0)
  const hours = Math.floor(whole / 3600)
  const minutes = Math.floor(whole / 60) % 60
  return hours > 0 ? `${hours} h ${minutes} min` : `${minutes} min ${whole % 60} s`
}

if (new Date().getTimezoneOffset() !== 0) {
  for (const shown of document.querySelectorAll('time[datetime]')) {
    const own = document.createElement('small')
    own.textContent = here(new Date(shown.getAttribute('datetime') ?? ''))
    shown.append(own)
  }
}

for (const shown of document.querySelectorAll('[data-until]')) {
  const until = new Date(shown.getAttribute('data-until') ?? '').getTime()
  const tick = () => {
    const left = (until - Date.now()) / 1000
    shown.textContent = span(left)
    if (left > 0) setTimeout(tick, 1000)
    else location.reload()
  }
  tick()
}
