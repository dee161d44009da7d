-- For wrk: asks for the paths of the file that BENCH_PATHS names, one after another, again and again.
local requests = {}
local position = 0

function init()
  for path in io.lines(os.getenv('BENCH_PATHS')) do
    requests[#requests + 1] = wrk.format('GET', path)
  end
end

function request()
  position = position % #requests + 1
  return requests[position]
end
