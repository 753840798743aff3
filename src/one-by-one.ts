/** Each action begins when the one before it has ended, well or not. */
export function oneByOne(): <T>(action: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve()
  return (action) => {
    const next = last.catch(() => {}).then(action)
    last = next
    return next
  }
}
