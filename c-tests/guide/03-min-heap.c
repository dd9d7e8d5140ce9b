// Min-heap operations for timer queue
// Parent of node at index i is at (i-1)/2
// Children of node at index i are at 2*i+1 and 2*i+2

static void heap_swap(mj_task** heap, size_t a, size_t b) {
    mj_task* temp = heap[a];
    heap[a] = heap[b];
    heap[b] = temp;
    
    // Update heap_index for quick lookups
    heap[a]->heap_index = a;
    heap[b]->heap_index = b;
}

static void heap_bubble_up(mj_task** heap, size_t index) {
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        
        // If parent expires later, swap
        if (heap[parent]->wake_time_ns > heap[index]->wake_time_ns) {
            heap_swap(heap, parent, index);
            index = parent;
        } else {
            break;
        }
    }
}

static void heap_bubble_down(mj_task** heap, size_t count, size_t index) {
    while (true) {
        size_t smallest = index;
        size_t left = 2 * index + 1;
        size_t right = 2 * index + 2;
        
        if (left < count && heap[left]->wake_time_ns < heap[smallest]->wake_time_ns) {
            smallest = left;
        }
        if (right < count && heap[right]->wake_time_ns < heap[smallest]->wake_time_ns) {
            smallest = right;
        }
        
        if (smallest != index) {
            heap_swap(heap, index, smallest);
            index = smallest;
        } else {
            break;
        }
    }
}

// Insert task into timer heap
static int timer_heap_insert(mj_scheduler* sched, mj_task* task) {
    // Resize if needed
    if (sched->timer_count >= sched->timer_capacity) {
        size_t new_cap = sched->timer_capacity * 2;
        mj_task** new_heap = realloc(sched->timer_heap, new_cap * sizeof(mj_task*));
        if (new_heap == NULL) {
            return -1;
        }
        sched->timer_heap = new_heap;
        sched->timer_capacity = new_cap;
    }
    
    // Add to end and bubble up
    size_t index = sched->timer_count++;
    sched->timer_heap[index] = task;
    task->heap_index = index;
    heap_bubble_up(sched->timer_heap, index);
    
    return 0;
}

// Remove minimum (earliest) task from heap
static mj_task* timer_heap_pop(mj_scheduler* sched) {
    if (sched->timer_count == 0) {
        return NULL;
    }
    
    mj_task* result = sched->timer_heap[0];
    
    // Move last element to root and bubble down
    sched->timer_count--;
    if (sched->timer_count > 0) {
        sched->timer_heap[0] = sched->timer_heap[sched->timer_count];
        sched->timer_heap[0]->heap_index = 0;
        heap_bubble_down(sched->timer_heap, sched->timer_count, 0);
    }
    
    return result;
}

// Peek at next timer without removing it
static mj_task* timer_heap_peek(mj_scheduler* sched) {
    return sched->timer_count > 0 ? sched->timer_heap[0] : NULL;
}
